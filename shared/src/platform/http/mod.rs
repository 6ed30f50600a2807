//! HTTP as every function speaks it: what surrounds a router, and the parts handlers are made of.
//!
//! [`run`] serves a router under Lambda; [`App`] is the same without Lambda, for tests.

mod accept;
mod app;
mod body;
mod etag;
mod fields;
mod list;
mod members;
mod merge_patch;
mod query;

pub use accept::accepts_csv;
pub use app::{App, run};
pub use body::Json;
pub use etag::{Precondition, Version, content_tag, is_known, not_modified};
pub use fields::Fields;
pub use list::{List, list_response, next_link};
pub use members::Members;
pub use merge_patch::merge_patch;
pub use query::Query;
