//! Everything that is proved from outside: the tree and its template, the API's document, and the
//! deployed local stack end to end.

mod access;
mod customers;
mod events;
mod gauntlet;
mod health;
mod openapi;
mod orders;
mod payments;
mod revenue;
mod sales;
mod sensors;
mod support;
mod template;
mod tidy;
