//! The key of a row of the counts, and its look-up without an allocation.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use chrono::{DateTime, Local, NaiveDate};

/// A quarter of an hour since 1970. Days begin with one in every time zone, which is looked up later: reading the time
/// zone may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quarter(i64);

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UsageKey<When> {
    pub(super) when: When,
    pub(super) client: Box<str>,
    pub(super) provider: Arc<str>,
    pub(super) login: Box<str>,
    pub(super) model: Box<str>,
    pub(super) path: Arc<str>,
}

/// The same before there is a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'r, When> {
    pub(super) when: When,
    pub(super) client: &'r str,
    pub(super) provider: &'r str,
    pub(super) login: &'r str,
    pub(super) model: &'r str,
    pub(super) path: &'r str,
}

/// A row is found without a key being made.
pub(super) trait Names<When> {
    fn about(&self) -> About<'_, When>;
}

/// Hashes with a number that is drawn at the start: rows are few, and a hash that is safe from everything costs more than
/// all else of a count.
#[derive(Debug, Clone)]
pub(super) struct Mixed(u64);

/// A hash that is being made.
#[derive(Debug)]
pub(super) struct Mixing {
    by: u64,
    sum: u64,
}

impl Quarter {
    pub(super) fn of(seconds: i64) -> Self {
        Self(seconds.div_euclid(15 * 60))
    }

    /// The day in this machine's time zone. May wait for a disk.
    pub(super) fn day(self) -> NaiveDate {
        let start = DateTime::from_timestamp(self.0.saturating_mul(15 * 60), 0);
        let start = start.unwrap_or_default();
        start.with_timezone(&Local).date_naive()
    }
}

impl<When> UsageKey<When> {
    /// The same at another time.
    pub(super) fn at<Other>(self, when: Other) -> UsageKey<Other> {
        UsageKey {
            when,
            client: self.client,
            provider: self.provider,
            login: self.login,
            model: self.model,
            path: self.path,
        }
    }
}

impl<When: Copy> Names<When> for UsageKey<When> {
    fn about(&self) -> About<'_, When> {
        About {
            when: self.when,
            client: &self.client,
            provider: &self.provider,
            login: &self.login,
            model: &self.model,
            path: &self.path,
        }
    }
}

impl<When: Copy> Names<When> for About<'_, When> {
    fn about(&self) -> About<'_, When> {
        *self
    }
}

impl<'k, When: Copy + 'k> Borrow<dyn Names<When> + 'k> for UsageKey<When> {
    fn borrow(&self) -> &(dyn Names<When> + 'k) {
        self
    }
}

impl<When: PartialEq> PartialEq for dyn Names<When> + '_ {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.about(), other.about());
        // Of most texts there is one.
        let is_same = |one: &str, other: &str| {
            one.len() == other.len() && (one.as_ptr() == other.as_ptr() || one == other)
        };
        one.when == other.when
            && is_same(one.path, other.path)
            && is_same(one.model, other.model)
            && is_same(one.client, other.client)
            && is_same(one.provider, other.provider)
            && is_same(one.login, other.login)
    }
}

impl<When: Eq> Eq for dyn Names<When> + '_ {}

/// Of what else a row is about there are a few alone, and each part takes its time.
impl<When> Hash for dyn Names<When> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let about = self.about();
        state.write(about.model.as_bytes());
        state.write(about.client.as_bytes());
    }
}

impl<When: Copy> Hash for UsageKey<When> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn Names<When>).hash(state);
    }
}

impl Default for Mixed {
    fn default() -> Self {
        // An odd number loses nothing.
        Self(fastrand::u64(..) | 1)
    }
}

impl BuildHasher for Mixed {
    type Hasher = Mixing;

    fn build_hasher(&self) -> Mixing {
        Mixing {
            by: self.0,
            sum: self.0,
        }
    }
}

impl Hasher for Mixing {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = bytes.len() as u64;
        for byte in rest {
            last = last << 8 | u64::from(*byte);
        }
        self.write_u64(last);
    }

    fn write_u64(&mut self, word: u64) {
        // Both halves of the product, so that each bit reaches each other.
        let product = u128::from(self.sum ^ word) * u128::from(self.by);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the halves are needed"
        )]
        let halves = (product as u64, (product >> 64) as u64);
        self.sum = halves.0 ^ halves.1;
    }

    fn finish(&self) -> u64 {
        self.sum
    }
}
