//! What the tests stand on.

pub(crate) mod api;
pub(crate) mod bucket;
pub(crate) mod chaos;
pub(crate) mod charge;
pub(crate) mod commerce;
pub(crate) mod faults;
pub(crate) mod faulty_cloud;
pub(crate) mod gauntlet;
pub(crate) mod lambda;
pub(crate) mod object_store;
pub(crate) mod old_orders;
pub(crate) mod people;
pub(crate) mod processes;
pub(crate) mod queue;
pub(crate) mod sensors;
pub(crate) mod shop;
pub(crate) mod stack;
pub(crate) mod template;
pub(crate) mod tree;
pub(crate) mod units;
