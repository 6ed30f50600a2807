//! Statistics of prices, in minor units of the store's currency: exact, whatever is added and taken.

/// What a set of listed products costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// Products.
    pub count: u64,
    /// Their prices together.
    pub sum: u128,
    /// The least and the greatest price; `None` where there is no product.
    pub range: Option<(u64, u64)>,
}

impl Prices {
    /// Of both together, which have no product in common.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let range = match (self.range, other.range) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        Self {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            range,
        }
    }

    /// With one more product.
    #[must_use]
    pub fn with(self, price: u64) -> Self {
        self.and(Self {
            count: 1,
            sum: price.into(),
            range: Some((price, price)),
        })
    }

    /// Whether a product of this price may be the cheapest or the dearest, so that what remains has to
    /// be looked at before it is taken away.
    #[must_use]
    pub fn is_edge(&self, price: u64) -> bool {
        self.range
            .is_none_or(|(least, most)| price <= least || price >= most)
    }

    /// Without a product; `remaining` is the range of the others, needed only at an
    /// [edge](Self::is_edge).
    #[must_use]
    pub fn without(self, price: u64, remaining: Option<(u64, u64)>) -> Self {
        let range = if self.is_edge(price) {
            remaining
        } else {
            self.range
        };
        Self {
            count: self.count.saturating_sub(1),
            sum: self.sum.saturating_sub(price.into()),
            range,
        }
    }

    /// The average, rounded half-up to the minor unit; `None` where there is no product.
    #[must_use]
    pub fn average(&self) -> Option<u64> {
        let count = u128::from(self.count);
        let average = (2 * self.sum + count).checked_div(2 * count)?;
        u64::try_from(average).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(prices: &[u64]) -> Prices {
        prices
            .iter()
            .fold(Prices::default(), |all, price| all.with(*price))
    }

    #[test]
    fn a_half_is_rounded_up_and_nothing_has_no_average() {
        assert_eq!(of(&[]).average(), None);
        assert_eq!(of(&[1, 2]).average(), Some(2));
        assert_eq!(of(&[1, 1, 2]).average(), Some(1));
        assert_eq!(of(&[0]).average(), Some(0));
    }

    proptest! {
        #[test]
        fn taking_away_leaves_what_the_others_make(mut prices in prop::collection::vec(0_u64..9, 1..12), at: prop::sample::Index) {
            let all = of(&prices);
            let gone = prices.swap_remove(at.index(prices.len()));
            let rest = of(&prices);
            prop_assert_eq!(all.without(gone, rest.range), rest);
            if !all.is_edge(gone) {
                prop_assert_eq!(all.without(gone, None), rest);
            }
        }

        #[test]
        fn parts_make_the_whole(a in prop::collection::vec(0..u64::MAX, 0..9), b in prop::collection::vec(0..u64::MAX, 0..9)) {
            prop_assert_eq!(of(&a).and(of(&b)), of(&[a, b].concat()));
        }
    }
}
