//! A message posted by an app reaches its provider, and its timeline tells so.
