//! Death around every call: each handler dies before and after each call that it makes, and then around two
//! of them, its trigger does what such a trigger does, and in the end everything is as if nobody had died.

mod catalog;
mod commerce;
mod customers;
mod driver;
mod messages;
mod orders;
mod outside;
mod routes;
mod saga;
mod sales;
mod sales_api;
mod sensors;
mod sensors_api;
mod state;
mod trigger;
