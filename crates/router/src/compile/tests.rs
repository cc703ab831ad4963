//! Every fault of a configuration, with its path and its message.
