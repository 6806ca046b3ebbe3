//! The name of a message: unique for ever within one server, short enough to say over the telephone.
//!
//! ```text
//! 64 bits = epoch (24: one for each process that ever opened the spool) · counter (40: one for each deposit)
//! 13 characters of Crockford's base 32; text order is number order
//! ```
//!
//! Never: a clock or a random number. Uniqueness comes from the epoch, which is on disk before the first id is given.

use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 13;
const COUNTER_BITS: u32 = 40;

/// The name of one message, never given twice by the same spool folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(u64);

/// The text is not a queue id: 13 characters of base 32, the first one `0` to `F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id")]
pub struct BadQueueId;

impl QueueId {
    /// The highest epoch an id can carry.
    pub(crate) const LAST_EPOCH: u32 = (1 << (64 - COUNTER_BITS)) - 1;
    /// The highest counter an id can carry.
    pub(crate) const LAST_COUNTER: u64 = (1 << COUNTER_BITS) - 1;

    pub(crate) fn new(epoch: u32, counter: u64) -> QueueId {
        QueueId((u64::from(epoch) << COUNTER_BITS) | (counter & Self::LAST_COUNTER))
    }

    /// The id as a number; ids of one process rise in the order of their deposits.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The id a number stands for.
    pub fn from_u64(number: u64) -> QueueId {
        QueueId(number)
    }

    pub(crate) fn epoch(self) -> u32 {
        (self.0 >> COUNTER_BITS) as u32
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; LENGTH];
        for (place, letter) in text.iter_mut().rev().enumerate() {
            *letter = ALPHABET[(self.0 >> (5 * place)) as usize & 31];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for QueueId {
    type Err = BadQueueId;

    fn from_str(text: &str) -> Result<QueueId, BadQueueId> {
        if text.len() != LENGTH {
            return Err(BadQueueId);
        }
        let mut number: u64 = 0;
        for (place, letter) in text.bytes().enumerate() {
            let letter = letter.to_ascii_uppercase();
            let digit = ALPHABET
                .iter()
                .position(|&a| a == letter)
                .ok_or(BadQueueId)? as u64;
            if place == 0 && digit > 15 {
                return Err(BadQueueId);
            }
            number = (number << 5) | digit;
        }
        Ok(QueueId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_agree() {
        for (number, text) in [
            (0, "0000000000000"),
            (31, "000000000000Z"),
            (1 << 40, "0000100000000"),
            (u64::MAX, "FZZZZZZZZZZZZ"),
        ] {
            assert_eq!(QueueId(number).to_string(), text);
            assert_eq!(text.parse(), Ok(QueueId(number)));
            assert_eq!(text.to_lowercase().parse(), Ok(QueueId(number)));
        }
    }

    #[test]
    fn text_order_is_number_order() {
        let numbers = [0, 9, 10, 31, 32, 1 << 39, 1 << 40, (1 << 40) + 17, u64::MAX];
        let texts: Vec<String> = numbers.iter().map(|&n| QueueId(n).to_string()).collect();
        assert!(texts.is_sorted());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "0",
            "00000000000000",
            "G000000000000",
            "000000000000U",
            "000000000000é",
        ] {
            assert_eq!(text.parse::<QueueId>(), Err(BadQueueId), "{text}");
        }
    }

    #[test]
    fn epoch_and_counter_keep_apart() {
        let id = QueueId::new(QueueId::LAST_EPOCH, 5);
        assert_eq!(id.epoch(), QueueId::LAST_EPOCH);
        assert_eq!(QueueId::new(7, 1).epoch(), 7);
        assert!(QueueId::new(7, QueueId::LAST_COUNTER) < QueueId::new(8, 0));
    }
}
