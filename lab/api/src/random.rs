//! Names and identities that nobody can foresee. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Letters that spell no words (`k8s.io/apimachinery/pkg/util/rand`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

fn number() -> u64 {
    // Each state has keys of its own, and hashing nothing mixes them.
    RandomState::new().build_hasher().finish()
}

/// A UUID of version 4.
pub(crate) fn uid() -> String {
    let (high, low) = (number(), number());
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let text = format!("{high:016x}{low:016x}");
    let part = |start: usize, end: usize| &text[start..end];
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    parts.join("-")
}

/// Five letters, as `metadata.generateName` appends them.
pub(crate) fn suffix() -> String {
    let mut number = number();
    let mut text = String::new();
    for _ in 0..5 {
        let index = (number % LETTERS.len() as u64) as usize;
        text.push(char::from(LETTERS[index]));
        number /= LETTERS.len() as u64;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_their_form_and_differ() {
        let (one, two) = (uid(), uid());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
        assert_eq!(suffix().len(), 5);
        assert_ne!(suffix(), suffix());
    }
}
