//! The model services: their wire formats (pure) and the one client that speaks to them.
