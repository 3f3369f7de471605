//! What was looked up a moment ago, so that a thousand runs of one Ploybook cost one look-up.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use papaya::HashMap;
use tokio::time::Instant;

/// Values that are taken for true for so long after they were looked up.
pub(super) struct Remembered<K, V> {
    known: HashMap<K, (Instant, V)>,
}

/// A change elsewhere is seen after this time.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// No more values than this are held.
const COUNT_MAX: usize = 10_000;

impl<K, V> fmt::Debug for Remembered<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new() }
    }

    /// The value, as it was a moment ago at most; one that is not worth to be remembered, as it is
    /// now.
    pub(super) async fn get<E>(
        &self,
        key: K,
        is_worth_it: impl FnOnce(&V) -> bool,
        look_up: impl AsyncFnOnce(&K) -> Result<V, E>,
    ) -> Result<V, E> {
        if let Some((since, value)) = self.known.pin().get(&key)
            && since.elapsed() < GOOD_FOR
        {
            return Ok(value.clone());
        }
        let asked_at = Instant::now();
        let value = look_up(&key).await?;
        if !is_worth_it(&value) {
            return Ok(value);
        }
        let known = self.known.pin();
        if known.len() >= COUNT_MAX {
            known.clear();
        }
        known.insert(key, (asked_at, value.clone()));
        Ok(value)
    }
}
