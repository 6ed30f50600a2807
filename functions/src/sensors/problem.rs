//! What the errors of the sensors context are to a caller: the one place that knows.

use shared::{
    platform::problem::{FieldError, Problem},
    sensors::{device::rules::DeviceExists, store::StoreError},
};

/// The problem that a failed call on readings or roll-ups is to a caller.
#[must_use]
pub fn store_problem(error: StoreError) -> Problem {
    let retryable = error.retryable();
    Problem::failed(error, retryable)
}

/// The problem that a body with faulty members is to a caller.
#[must_use]
pub fn body_problem(errors: Vec<FieldError>) -> Problem {
    Problem::unprocessable("invalid-body", "the body does not have the expected form")
        .with_errors(errors)
}

/// The problem that a device registered already is to who registers it.
#[must_use]
pub fn exists_problem(error: DeviceExists) -> Problem {
    Problem::conflict("device-exists", "a device of this identifier exists").with_cause(error)
}

/// The problem that an identifier is which no device has, or only a deleted one.
#[must_use]
pub fn no_device() -> Problem {
    Problem::not_found("no such device")
}
