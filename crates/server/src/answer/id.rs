//! Names of requests.

use std::hash::{BuildHasher, Hasher, RandomState};

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `chatcmpl-` and 32 letters and digits that nobody can guess (`gen_chatcmplid`).
pub(crate) fn completion_id() -> String {
    let mut id = "chatcmpl-".to_owned();
    for word in 0..4u64 {
        // Each state has keys of its own, from the system's random numbers.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(word);
        let mut bits = hasher.finish();
        for _ in 0..8 {
            id.push(char::from(LETTERS[(bits % 62) as usize]));
            bits /= 62;
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_references_form_and_differ() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| completion_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            let letters = id.strip_prefix("chatcmpl-").expect("the prefix");
            assert!(letters.len() == 32 && letters.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        }
    }
}
