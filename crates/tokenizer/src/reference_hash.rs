//! The order in which the reference's token table is walked.
//!
//! It finds special tokens by walking a `std::unordered_map` from text to id; where several known texts are in a
//! vocabulary, the first one met wins. That order is no contract, but it is fixed: it follows from libstdc++'s
//! hash (a MurmurHash64A), its prime bucket counts and the order of insertion, all of which are followed here.

/// Bucket counts of a table that grows by single insertions.
const BUCKET_COUNTS: &[u64] = &[
    13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229, 172_933, 351_061, 712_697,
    1_447_153, 2_938_679, 5_967_347, 12_117_689, 24_607_243,
];
const NONE: u32 = u32::MAX;

/// Position of every text in the walk, if the texts are inserted in order. Texts are distinct.
///
/// `None` for tables larger than any vocabulary known.
pub(crate) fn walk_order<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u32>> {
    let mut table = Table { hashes: Vec::new(), next: Vec::new(), head: NONE, buckets: vec![Bucket::Empty] };
    for text in texts {
        table.insert(hash(text))?;
    }
    let mut position = vec![0; table.next.len()];
    let mut node = table.head;
    for at in 0..table.next.len() as u32 {
        position[node as usize] = at;
        node = table.next[node as usize];
    }
    Some(position)
}

/// What comes before a bucket's first node in the list that runs through all nodes.
#[derive(Clone, Copy)]
enum Bucket {
    Empty,
    Head,
    After(u32),
}

struct Table {
    hashes: Vec<u64>,
    next: Vec<u32>,
    head: u32,
    buckets: Vec<Bucket>,
}

impl Table {
    fn insert(&mut self, hash: u64) -> Option<()> {
        let n = self.hashes.len();
        if n == 0 || n + 1 > self.buckets.len() {
            self.grow(*BUCKET_COUNTS.iter().find(|&&count| count > n as u64)? as usize);
        }
        self.hashes.push(hash);
        self.next.push(NONE);
        self.link(n as u32);
        Some(())
    }

    fn bucket_of(&self, node: u32) -> usize {
        (self.hashes[node as usize] % self.buckets.len() as u64) as usize
    }

    /// Puts a node at the front of its bucket; a bucket that was empty goes to the front of the list.
    fn link(&mut self, node: u32) {
        let bucket = self.bucket_of(node);
        match self.buckets[bucket] {
            Bucket::Empty => {
                let second = std::mem::replace(&mut self.head, node);
                self.next[node as usize] = second;
                if second != NONE {
                    let at = self.bucket_of(second);
                    self.buckets[at] = Bucket::After(node);
                }
                self.buckets[bucket] = Bucket::Head;
            }
            Bucket::Head => self.next[node as usize] = std::mem::replace(&mut self.head, node),
            Bucket::After(before) => {
                self.next[node as usize] = std::mem::replace(&mut self.next[before as usize], node);
            }
        }
    }

    /// Relinks all nodes in the order of the list.
    fn grow(&mut self, n_buckets: usize) {
        self.buckets = vec![Bucket::Empty; n_buckets];
        let mut node = std::mem::replace(&mut self.head, NONE);
        while node != NONE {
            let next = self.next[node as usize];
            self.link(node);
            node = next;
        }
    }
}

/// `std::hash<std::string>` of libstdc++ on 64-bit machines.
fn hash(text: &[u8]) -> u64 {
    const MUL: u64 = 0xC6A4_A793_5BD1_E995;
    let mix = |v: u64| v ^ (v >> 47);
    let mut hash = 0xC70F_6907 ^ (text.len() as u64).wrapping_mul(MUL);
    let (words, tail) = text.as_chunks::<8>();
    for word in words {
        let data = mix(u64::from_le_bytes(*word).wrapping_mul(MUL)).wrapping_mul(MUL);
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    if !tail.is_empty() {
        let data = tail.iter().rev().fold(0, |data, &byte| data << 8 | u64::from(byte));
        hash = (hash ^ data).wrapping_mul(MUL);
    }
    mix(mix(hash).wrapping_mul(MUL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values printed by a C++ program that fills a `std::unordered_map` with these texts.
    #[test]
    fn walks_like_libstdcxx() {
        assert_eq!(hash(b"<|endoftext|>"), 3_113_324_847_494_305_268);
        let texts: Vec<String> = (0..3000usize)
            .map(|i| format!("tok{}{}", i * i, if i.is_multiple_of(3) { "" } else { "abcdefgh" }))
            .collect();
        let order = walk_order(texts.iter().map(String::as_bytes)).expect("a small table");
        let mut walk: Vec<u64> = (0..3000).collect();
        walk.sort_by_key(|&i| order[i as usize]);
        let digest = walk.iter().fold(0u64, |h, &i| h.wrapping_mul(1_000_003).wrapping_add(i));
        assert_eq!(digest, 15_702_252_705_707_763_072);
    }
}
