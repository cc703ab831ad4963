//! Mail in by SMTP.
