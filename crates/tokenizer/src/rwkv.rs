//! RWKV (`llm_tokenizer_rwkv_session`): the longest token that the rest of the text begins with, again and again.

use crate::trie::Trie;
use crate::vocab::Vocab;
use crate::{Error, TokenId};

/// The tokens by the bytes they stand for.
#[derive(Debug)]
pub(crate) struct Rwkv {
    trie: Trie,
}

impl Rwkv {
    pub(crate) fn new(vocab: &Vocab) -> Self {
        let texts: Vec<Vec<u8>> = vocab.texts().map(|(_, text)| unescape(text)).collect();
        Self { trie: Trie::new(texts.iter().map(Vec::as_slice).zip(0..)) }
    }

    /// Appends the tokens of `raw`; a byte that no token begins with is an unknown token, if there is one.
    ///
    /// Where tokens go on from a byte but none ends, the reference does not end either; that byte is unknown too.
    pub(crate) fn encode(
        &self,
        raw: &[u8],
        unk: Option<TokenId>,
        out: &mut Vec<TokenId>,
    ) -> Result<(), Error> {
        let mut rest = raw;
        while !rest.is_empty() {
            let (len, id) = match self.trie.longest(rest) {
                Some(found) => found,
                None => (1, unk.ok_or(Error::MissingSpecialToken("unknown"))?),
            };
            out.push(id);
            rest = &rest[len..];
        }
        Ok(())
    }
}

/// The bytes that a token's text stands for: `\t`, `\n`, `\r`, `\xHH`, and any other character after `\` for itself.
/// As lenient as the reference about digits.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            None => {}
            Some(b't') => out.push(b'\t'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                if let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
                    out.push(digit(high).wrapping_shl(4).wrapping_add(digit(low)));
                }
            }
            Some(other) => out.push(other),
        }
    }
    out
}

/// Value of a hexadecimal digit in small letters; whatever the same arithmetic gives for anything else.
fn digit(c: u8) -> u8 {
    if (b'a'..0x80).contains(&c) { c - b'a' + 10 } else { c.wrapping_sub(b'0') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unescape(br"a\n\t\r\\\x41\'"), b"a\n\t\r\\A'");
        assert_eq!(unescape(br"\xff\x0a"), b"\xFF\n");
        assert_eq!(unescape(br"a\"), b"a");
        assert_eq!(unescape(br"\x4"), b"");
    }
}
