//! A bounded memory of what was looked up, each entry for as long as it may be trusted.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::platform::clock::Clock;

/// Remembers up to a fixed number of values, each until its time is over.
///
/// When it is full it forgets what is out of date, and if nothing is, everything: a fresh start costs
/// one look-up a key, and keeping an order of use would cost every request.
#[derive(Debug)]
pub struct Cache<K, V> {
    entries: Mutex<HashMap<K, (V, Timestamp)>>,
    most: usize,
    clock: Clock,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty memory for `most` entries.
    #[must_use]
    pub fn new(most: usize, clock: Clock) -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
            most,
            clock,
        }
    }

    /// What is remembered of `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|(_, until)| *until > self.clock.now())
            .map(|(value, _)| value.clone())
    }

    /// Remembers `value` for `lifetime`.
    pub fn put(&self, key: K, value: V, lifetime: SignedDuration) {
        let now = self.clock.now();
        let Ok(until) = now.checked_add(lifetime) else {
            return;
        };
        // A map is whole between two calls, whatever a panic elsewhere did.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.most && !entries.contains_key(&key) {
            entries.retain(|_, (_, until)| *until > now);
            if entries.len() >= self.most {
                entries.clear();
            }
        }
        entries.insert(key, (value, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: SignedDuration = SignedDuration::from_secs(1);

    #[test]
    fn a_value_is_remembered_for_its_time_and_no_longer() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let cache = Cache::new(2, clock.clone());
        cache.put("a", 1, SECOND);
        clock.advance(SignedDuration::from_millis(999));
        assert_eq!(cache.get(&"a"), Some(1));
        clock.advance(SignedDuration::from_millis(1));
        assert_eq!(cache.get(&"a"), None);
        assert_eq!(cache.get(&"b"), None);
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_newest() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let cache = Cache::new(3, clock.clone());
        cache.put(0, 0, SECOND);
        clock.advance(SECOND);
        for key in 1..100 {
            cache.put(key, key, SECOND);
            assert_eq!(cache.get(&key), Some(key));
            assert!(cache.entries.lock().unwrap().len() <= 3);
        }
    }

    #[test]
    fn what_is_out_of_date_makes_room_first() {
        let clock = Clock::fixed(Timestamp::UNIX_EPOCH);
        let cache = Cache::new(2, clock.clone());
        cache.put("old", 1, SECOND);
        clock.advance(SECOND);
        cache.put("kept", 2, SECOND);
        cache.put("new", 3, SECOND);
        assert_eq!((cache.get(&"kept"), cache.get(&"new")), (Some(2), Some(3)));
    }
}
