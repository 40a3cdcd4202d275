//! All keys, their defaults and checks.
