//! A Bloom filter over the hashes of suppressed addresses, so that the usual answer, that nothing
//! is known of an address, needs no look into the database.

use std::sync::atomic::{AtomicU64, Ordering};

/// 2 MiB: of addresses that are not in it, one in a thousand is looked up in vain when a million
/// are. Beyond, more are; none is ever missed.
const WORDS: usize = 1 << 18;
/// Bits set per hash: the best number for 16 bits of filter per hash is 11, and 6 is nearly as
/// good for half the work.
const BITS_PER_HASH: u64 = 6;

/// What was ever added to it, never less. Nothing is taken out: a suppression that was lifted or
/// has expired costs a look into the database until the next start.
pub(crate) struct HashFilter {
    words: Vec<AtomicU64>,
}

impl HashFilter {
    pub(crate) fn new() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Adds a hash. Who is told of it afterwards finds it.
    pub(crate) fn add(&self, hash: &[u8; 16]) {
        for (word, bit) in self.bits(hash) {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// Whether a hash may have been added; `false` is certain.
    pub(crate) fn may_hold(&self, hash: &[u8; 16]) -> bool {
        self.bits(hash)
            .all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// The places of a hash. Its halves are as good as random, since it comes from a keyed hash.
    fn bits(&self, hash: &[u8; 16]) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let number = u128::from_le_bytes(*hash);
        let mask = WORDS * 64 - 1;
        let (first, step) = (number as usize, (number >> 64) as usize | 1);
        (0..BITS_PER_HASH as usize).map(move |index| {
            let place = first.wrapping_add(index.wrapping_mul(step)) & mask;
            (&self.words[place / 64], 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hashes as the keyed hash makes them: all bits in use.
    fn spread(number: u64) -> [u8; 16] {
        let mut hash = [0; 16];
        let digest = <sha2::Sha256 as sha2::Digest>::digest(number.to_le_bytes());
        hash.copy_from_slice(&digest[..16]);
        hash
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_added_is_always_found(hashes in prop::collection::vec(any::<[u8; 16]>(), 0..200)) {
            let filter = HashFilter::new();
            for (count, hash) in hashes.iter().enumerate() {
                filter.add(hash);
                for added in &hashes[..=count] {
                    prop_assert!(filter.may_hold(added));
                }
            }
        }
    }

    #[test]
    fn a_million_suppressions_leave_one_other_address_in_five_hundred_to_the_database() {
        let filter = HashFilter::new();
        assert!(!(0..1_000).any(|number| filter.may_hold(&spread(number))));
        for number in 0..1_000_000 {
            filter.add(&spread(number));
        }
        let others = 2_000_000..2_100_000;
        let in_vain = others.filter(|number| filter.may_hold(&spread(*number)));
        let in_vain = in_vain.count();
        assert!(in_vain < 200, "{in_vain} of 100,000");
    }
}
