//! Sales: import of export files, and the rows stored.

pub mod announce;
pub mod api;
pub mod context;
pub mod import;
pub mod import_sales;
pub mod importer;
pub mod imports;
pub mod order_revenue;
pub mod problem;
pub mod queue;
pub mod rows;
