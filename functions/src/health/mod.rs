//! Health of the deployment as a whole.

pub mod api;
