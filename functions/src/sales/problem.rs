//! What the errors of the sales context are to a caller: the one place that knows.

use shared::{
    platform::problem::Problem,
    sales::{day::Overflow, files::FilesError, store::StoreError},
};

use super::importer::ImportError;

/// The problem that a failed call on the sales table is to a caller.
#[must_use]
pub fn store_problem(error: StoreError) -> Problem {
    let retryable = error.retryable();
    Problem::failed(error, retryable)
}

/// The problem that an interrupted import is to a caller.
#[must_use]
pub fn import_problem(error: ImportError) -> Problem {
    match error {
        ImportError::Store(error) => store_problem(error),
        ImportError::Files(error) => files_problem(error),
        ImportError::Contended(_) | ImportError::OutOfTime => Problem::unavailable(error),
        error => Problem::internal(error),
    }
}

/// The problem that a failed call on the import bucket is to a caller.
#[must_use]
pub fn files_problem(error: FilesError) -> Problem {
    let retryable = error.retryable();
    Problem::failed(error, retryable)
}

/// The problem that a sum out of range is to a caller.
#[must_use]
pub fn overflow_problem(error: Overflow) -> Problem {
    Problem::internal(error)
}
