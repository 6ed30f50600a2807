//! Lists of products: their orders, their filters, and one page out of several lists.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::model::{Image, Product, TaxClass, folded, units};
use crate::{
    catalog::id::{CategoryId, ProductId},
    platform::money::Money,
    stock::model::Sku,
};

/// The order of a list. Products that are alike in it come by identifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ProductOrder)]
pub enum Order {
    /// Latest first.
    #[default]
    #[serde(rename = "newest")]
    Newest,
    /// By name, without regard to case.
    #[serde(rename = "name")]
    Name,
    /// By name, the other way.
    #[serde(rename = "-name")]
    NameDescending,
    /// Cheapest first.
    #[serde(rename = "price")]
    Price,
    /// Dearest first.
    #[serde(rename = "-price")]
    PriceDescending,
}

impl Order {
    /// The order that a word names.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Some(match word {
            "newest" => Self::Newest,
            "name" => Self::Name,
            "-name" => Self::NameDescending,
            "price" => Self::Price,
            "-price" => Self::PriceDescending,
            _ => return None,
        })
    }

    /// Whether keys go up in it.
    #[must_use]
    pub const fn is_ascending(self) -> bool {
        matches!(self, Self::Name | Self::Price)
    }
}

/// A list that products stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListName {
    /// That of all listed products.
    All,
    /// That of the featured ones.
    Featured,
    /// That of a category, without those below it.
    Category(CategoryId),
}

/// The lists that a product stands in.
#[must_use]
pub fn lists_of(product: &Product) -> Vec<ListName> {
    if !product.is_listed() {
        return Vec::new();
    }
    let categories = product.details.category_ids.iter();
    let featured = product.details.is_featured.then_some(ListName::Featured);
    categories
        .map(|id| ListName::Category(*id))
        .chain([ListName::All])
        .chain(featured)
        .collect()
}

/// A product as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// Names it.
    #[schema(value_type = String, format = "uuid")]
    pub id: ProductId,
    /// Names its stock.
    #[schema(value_type = String)]
    pub sku: Sku,
    /// What people call it.
    pub name: String,
    /// What one costs without tax.
    pub price: Money,
    /// Says which tax rate goes with it.
    #[schema(value_type = String)]
    pub tax_class: TaxClass,
    /// Its categories.
    #[schema(value_type = Vec<String>)]
    pub category_ids: Vec<CategoryId>,
    /// Its first image.
    pub image: Option<Image>,
    /// Whether it is among the featured ones.
    pub is_featured: bool,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Summary {
    /// What a list shows of a product.
    #[must_use]
    pub fn of(product: &Product) -> Self {
        let details = product.details.clone();
        Self {
            id: product.id,
            sku: product.sku.clone(),
            name: details.name,
            price: details.price,
            tax_class: details.tax_class,
            category_ids: details.category_ids,
            image: details.images.into_iter().next(),
            is_featured: details.is_featured,
            created_at: product.created_at,
        }
    }
}

/// Which products of a list are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in one of these categories.
    pub within: Option<HashSet<CategoryId>>,
    /// Only those that cost so many minor units or more.
    pub least: Option<u64>,
    /// Only those that cost so many minor units or less.
    pub most: Option<u64>,
    /// Only those whose name has this in it, in any case.
    pub name: Option<String>,
    /// Only those of which there are some, or only those that are sold out.
    pub in_stock: Option<bool>,
}

impl Filter {
    /// Whether a product passes, but for its stock.
    #[must_use]
    pub fn admits(&self, summary: &Summary) -> bool {
        let price = units(summary.price);
        let is_within =
            |within: &HashSet<_>| summary.category_ids.iter().any(|id| within.contains(id));
        let is_named = |part: &String| folded(&summary.name).contains(&folded(part));
        self.least.is_none_or(|least| price >= least)
            && self.most.is_none_or(|most| price <= most)
            && self.within.as_ref().is_none_or(is_within)
            && self.name.as_ref().is_none_or(is_named)
    }

    /// Whether every product passes.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A stretch of one list: its keys in the list's order with what they stand for, and whether the list
/// goes on after it.
#[derive(Clone, Debug, Default)]
pub struct Stretch<T> {
    /// Keys and what they stand for.
    pub rows: Vec<(String, T)>,
    /// Whether there are more.
    pub goes_on: bool,
}

/// One stretch out of several in the same order, each key once. It ends where the first of those that go
/// on does: what comes after may be in a part of that one that was not read.
#[must_use]
pub fn merged<T>(stretches: Vec<Stretch<T>>, is_ascending: bool) -> Stretch<T> {
    let is_before = |a: &String, b: &String| if is_ascending { a < b } else { a > b };
    let ends = stretches.iter().filter(|stretch| stretch.goes_on);
    let ends = ends.filter_map(|stretch| Some(stretch.rows.last()?.0.clone()));
    let horizon = ends.reduce(|a, b| if is_before(&b, &a) { b } else { a });
    let rows = stretches.into_iter().flat_map(|stretch| stretch.rows);
    let near: BTreeMap<String, T> = rows
        .filter(|(key, _)| horizon.as_ref().is_none_or(|end| !is_before(end, key)))
        .collect();
    let mut rows: Vec<_> = near.into_iter().collect();
    if !is_ascending {
        rows.reverse();
    }
    Stretch {
        rows,
        goes_on: horizon.is_some(),
    }
}

/// The products most like `of`: those that share most of its categories first, then the latest.
#[must_use]
pub fn most_related(of: &Product, candidates: Vec<Summary>, limit: usize) -> Vec<Summary> {
    let shared = |other: &Summary| {
        let own = &of.details.category_ids;
        other
            .category_ids
            .iter()
            .filter(|id| own.contains(id))
            .count()
    };
    let mut related: Vec<_> = candidates
        .into_iter()
        .filter(|other| other.id != of.id)
        .map(|other| (shared(&other), other))
        .collect();
    related.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| other.id.cmp(&one.id)));
    related.dedup_by_key(|(_, summary)| summary.id);
    let related = related.into_iter().map(|(_, summary)| summary);
    related.take(limit).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stretches_read_one_after_another_give_every_key_once_in_order(
            lists in prop::collection::vec(prop::collection::btree_set("[a-d]{1,3}", 0..12), 1..5),
            page in 1_usize..5,
            is_ascending: bool,
        ) {
            let mut expected: Vec<String> = lists.iter().flatten().cloned().collect();
            expected.sort();
            expected.dedup();
            if !is_ascending {
                expected.reverse();
            }
            let (mut read, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
            loop {
                let stretches = lists.iter().map(|list| {
                    let mut keys: Vec<_> = list.iter().cloned().collect();
                    if !is_ascending {
                        keys.reverse();
                    }
                    let is_later = |key: &String| match &after {
                        None => true,
                        Some(after) if is_ascending => key > after,
                        Some(after) => key < after,
                    };
                    keys.retain(is_later);
                    let goes_on = keys.len() > page;
                    keys.truncate(page);
                    Stretch { rows: keys.into_iter().map(|key| (key, ())).collect(), goes_on }
                });
                let next = merged(stretches.collect(), is_ascending);
                read.extend(next.rows.into_iter().map(|(key, ())| key));
                after = read.last().cloned();
                if !next.goes_on {
                    break;
                }
            }
            prop_assert_eq!(read, expected);
        }
    }
}
