//! What becomes of a product: pure functions from what is stored and what is asked to what to store.

use jiff::Timestamp;
use serde_json::Value;

use super::model::{Details, Product, parse_details};
use crate::{
    catalog::{
        id::{CategoryId, ProductId},
        patch::patched,
    },
    platform::{money::Currency, problem::FieldError},
    stock::model::Sku,
};

/// Members that callers see and cannot change.
const FIXED: [&str; 5] = ["id", "sku", "version", "created_at", "updated_at"];

/// Times are stored as they are shown.
fn to_millisecond(at: Timestamp) -> Timestamp {
    let floor = at.as_nanosecond().div_euclid(1_000_000);
    let floor = i64::try_from(floor).ok().map(Timestamp::from_millisecond);
    floor.and_then(Result::ok).unwrap_or(at)
}

/// A new product.
#[must_use]
pub fn create(id: ProductId, sku: Sku, details: Details, now: Timestamp) -> Product {
    let now = to_millisecond(now);
    Product {
        id,
        sku,
        details,
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
    }
}

/// Changes `current` by a JSON merge patch (RFC 7396) of the form that callers see.
///
/// # Errors
///
/// What is wrong with which member of the patched product.
pub fn update(
    current: &Product,
    patch: &Value,
    currency: Currency,
    now: Timestamp,
) -> Result<Product, Vec<FieldError>> {
    let (target, mut errors) = patched(&current.document(), patch, &FIXED)?;
    match parse_details(&target, currency) {
        Ok(details) if errors.is_empty() => Ok(Product {
            details,
            ..changed(current, now)
        }),
        Ok(_) => Err(errors),
        Err(others) => {
            errors.extend(others);
            Err(errors)
        }
    }
}

/// Deletes `current` softly: its sku is free for another product.
#[must_use]
pub fn delete(current: &Product, now: Timestamp) -> Product {
    Product {
        deleted_at: Some(to_millisecond(now)),
        ..changed(current, now)
    }
}

/// Brings `deleted` back, without the categories that are gone since.
#[must_use]
pub fn restore(deleted: &Product, exists: impl Fn(CategoryId) -> bool, now: Timestamp) -> Product {
    let mut restored = Product {
        deleted_at: None,
        ..changed(deleted, now)
    };
    restored.details.category_ids.retain(|id| exists(*id));
    restored
}

fn changed(current: &Product, now: Timestamp) -> Product {
    Product {
        version: current.version + 1,
        updated_at: to_millisecond(now),
        ..current.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::product::model::{parse_new, tests::body};

    const ID: &str = "0196a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b";

    fn product() -> Product {
        let mut body = body("LAMP-7");
        body["category_ids"] = json!([ID]);
        body["attributes"] = json!({"colour": {"base": "red", "shade": "dark"}});
        let (sku, details) = parse_new(&body, Currency::SGD).unwrap();
        let now = Timestamp::from_nanosecond(1_795_190_400_123_456_789).unwrap();
        create(ID.parse().unwrap(), sku, details, now)
    }

    fn patched(patch: &Value) -> Result<Product, Vec<String>> {
        let told = |error: FieldError| format!("{} {}", error.pointer, error.code);
        update(&product(), patch, Currency::SGD, Timestamp::UNIX_EPOCH)
            .map_err(|errors| errors.into_iter().map(told).collect())
    }

    #[test]
    fn what_is_stored_reads_back_as_it_was() {
        let now = Timestamp::from_second(7).unwrap();
        for product in [product(), delete(&product(), now)] {
            let text = serde_json::to_string(&product).unwrap();
            assert_eq!(serde_json::from_str::<Product>(&text).unwrap(), product);
        }
    }

    #[test]
    fn a_patch_merges_and_null_brings_what_a_new_product_has() {
        let patch = json!({"attributes": {"colour": {"shade": null}}, "tax_class": null,
            "category_ids": [], "version": 1});
        let changed = patched(&patch).unwrap();
        let attributes = Value::Object(changed.details.attributes.clone());
        assert_eq!(attributes, json!({"colour": {"base": "red"}}));
        assert!(changed.details.category_ids.is_empty());
        assert_eq!(
            (changed.version, changed.created_at),
            (2, product().created_at)
        );
    }

    #[test]
    fn the_sku_and_what_is_counted_do_not_change() {
        let patch = json!({"sku": "OTHER", "version": 9, "id": null, "price": null, "x": 1,
            "deleted_at": "2026-11-20T16:00:00Z"});
        let faults = [
            "/id read-only-field",
            "/sku read-only-field",
            "/version read-only-field",
            "/price missing-field",
            "/deleted_at unknown-field",
            "/x unknown-field",
        ];
        assert_eq!(patched(&patch), Err(faults.map(str::to_owned).to_vec()));
    }

    #[test]
    fn deleting_and_restoring_is_a_detour_that_is_counted() {
        let later = Timestamp::from_second(7).unwrap();
        let deleted = delete(&product(), later);
        assert!(!deleted.is_listed() && deleted.memberships().is_empty());
        let restored = restore(&deleted, |_| true, later);
        assert_eq!(
            (restored.version, &restored.details),
            (3, &product().details)
        );
        let bare = restore(&deleted, |_| false, later);
        assert!(bare.details.category_ids.is_empty());
    }
}
