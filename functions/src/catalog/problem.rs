//! What the errors of the catalogue are to a caller: the one place that knows.

use shared::{
    catalog::{
        category::{store::TreeStoreError, tree::TreeError},
        product::store::Saved,
    },
    platform::problem::{FieldError, Problem},
    stock::rules::StockError,
};

/// The problem that a failed call on the tree is to a caller.
#[must_use]
pub fn tree_problem(error: TreeStoreError) -> Problem {
    let retryable = error.retryable();
    Problem::failed(error, retryable)
}

/// The problem that a body with faulty members is to a caller.
#[must_use]
pub fn body_problem(errors: Vec<FieldError>) -> Problem {
    Problem::unprocessable("invalid-body", "the body does not have the expected form")
        .with_errors(errors)
}

/// The problem that an identifier is which no category has.
#[must_use]
pub fn no_category() -> Problem {
    Problem::not_found("no such category")
}

/// The problem that an identifier is which no product has that the caller may see.
#[must_use]
pub fn no_product() -> Problem {
    Problem::not_found("no such product")
}

/// The problem that a sku is which there is no stock of.
#[must_use]
pub fn no_stock() -> Problem {
    Problem::not_found("no stock of such a sku")
}

/// The problem that a tree is to a caller which cannot be.
#[must_use]
pub fn refused_tree(error: TreeError) -> Problem {
    let detail = error.to_string();
    match error {
        TreeError::NotFound => no_category(),
        TreeError::NoParent => body_problem(vec![FieldError::new(
            "/parent_id",
            "no-such-category",
            detail,
        )]),
        TreeError::TooDeep => body_problem(vec![FieldError::new("/parent_id", "too-deep", detail)]),
        TreeError::SlugTaken => Problem::conflict("slug-taken", detail),
        TreeError::Cycle => Problem::conflict("category-cycle", detail),
        TreeError::Full => Problem::conflict("too-many-categories", detail),
        TreeError::NotEmpty => Problem::conflict(
            "category-not-empty",
            "there are categories below, or products in it",
        ),
    }
}

/// The problem that it is to a caller that a product was not written; `None` where it was.
#[must_use]
pub fn refused_product(saved: Saved) -> Option<Problem> {
    match saved {
        Saved::Done => None,
        Saved::Conflict => Some(Problem::precondition_failed()),
        Saved::SkuTaken => Some(Problem::conflict(
            "sku-taken",
            "another product has the sku",
        )),
        Saved::NoCategory(id) => {
            let detail = format!("there is no category {id}");
            let error = FieldError::new("/category_ids", "no-such-category", detail);
            Some(body_problem(vec![error]))
        }
    }
}

/// The problem that a change of a stock is which the rules refuse.
#[must_use]
pub fn refused_stock(error: StockError) -> Problem {
    let detail = error.to_string();
    match error {
        StockError::Short { .. } => Problem::conflict("insufficient-stock", detail),
        StockError::TooMany => Problem::conflict("too-much-stock", detail),
    }
}
