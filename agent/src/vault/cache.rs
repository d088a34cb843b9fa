//! Decrypted blocks that are kept in memory, up to a stated size.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::records::Block;

/// How much of a dataset may stay decrypted in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheSize(u64);

impl CacheSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many MiB.
    pub const fn mebibytes(mebibytes: u64) -> Self {
        Self(mebibytes.saturating_mul(1 << 20))
    }
}

/// Least recently used first, with one exception: a block that the present or the last draw touched stays.
///
/// Every draw sweeps the whole dataset in order. Where it does not fit, plain LRU would always evict what the next draw
/// needs first and never hit; with the exception a part of the dataset stays, and is hit in every draw.
pub(super) struct Cache {
    size: u64,
    held: u64,
    draw: u64,
    blocks: HashMap<u64, Entry>,
    by_use: BTreeSet<(u64, u64)>,
}

struct Entry {
    block: Arc<Block>,
    used: u64,
}

impl Cache {
    pub(super) fn new(size: CacheSize) -> Self {
        Self {
            size: size.0,
            held: 0,
            draw: 0,
            blocks: HashMap::new(),
            by_use: BTreeSet::new(),
        }
    }

    /// Another draw begins.
    pub(super) fn begin_draw(&mut self) {
        self.draw += 1;
    }

    pub(super) fn get(&mut self, number: u64) -> Option<Arc<Block>> {
        let entry = self.blocks.get_mut(&number)?;
        self.by_use.remove(&(entry.used, number));
        entry.used = self.draw;
        self.by_use.insert((entry.used, number));
        Some(Arc::clone(&entry.block))
    }

    /// Keeps a block if there is room or can be made.
    pub(super) fn offer(&mut self, number: u64, block: &Arc<Block>) {
        let bytes = block.bytes();
        if bytes > self.size || self.blocks.contains_key(&number) {
            return;
        }
        while self.held + bytes > self.size {
            match self.by_use.first().copied() {
                Some((used, oldest)) if used + 1 < self.draw => {
                    self.by_use.pop_first();
                    if let Some(entry) = self.blocks.remove(&oldest) {
                        self.held -= entry.block.bytes();
                    }
                }
                _ => return,
            }
        }
        self.held += bytes;
        self.by_use.insert((self.draw, number));
        let entry = Entry {
            block: Arc::clone(block),
            used: self.draw,
        };
        self.blocks.insert(number, entry);
    }

    #[cfg(test)]
    fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(cache: &mut Cache, blocks: u64) -> usize {
        cache.begin_draw();
        let mut hits = 0;
        for number in 0..blocks {
            if cache.get(number).is_some() {
                hits += 1;
            } else {
                cache.offer(number, &Arc::new(Block::of_size(100)));
            }
            assert!(cache.held() <= cache.size);
        }
        hits
    }

    #[test]
    fn what_fits_is_read_once() {
        let mut cache = Cache::new(CacheSize::bytes(1000));
        assert_eq!(sweep(&mut cache, 10), 0);
        assert_eq!(sweep(&mut cache, 10), 10);
    }

    #[test]
    fn a_dataset_beyond_the_cache_still_hits_what_is_held() {
        let mut cache = Cache::new(CacheSize::bytes(1000));
        for draw in 0..5 {
            let hits = sweep(&mut cache, 40);
            assert_eq!(hits, if draw == 0 { 0 } else { 10 });
        }
    }

    #[test]
    fn what_is_no_longer_drawn_makes_room() {
        let mut cache = Cache::new(CacheSize::bytes(1000));
        sweep(&mut cache, 10);
        for _ in 0..3 {
            cache.begin_draw();
            cache.get(0);
        }
        cache.offer(50, &Arc::new(Block::of_size(100)));
        assert!(cache.get(50).is_some() && cache.get(0).is_some());
        assert!(cache.get(1).is_none());
    }

    #[test]
    fn nothing_is_kept_in_a_cache_of_no_size() {
        let mut cache = Cache::new(CacheSize::bytes(0));
        assert_eq!(sweep(&mut cache, 3), 0);
        assert_eq!(sweep(&mut cache, 3), 0);
    }
}
