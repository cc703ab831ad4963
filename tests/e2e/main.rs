//! One behaviour a file, through real sockets, against the real program.

mod http_submission;
