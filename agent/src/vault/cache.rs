//! Decrypted blocks that are kept in memory, up to a stated size.

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

/// Blocks by number. One makes room only if neither the present draw nor the last touched it.
///
/// Every draw sweeps the whole dataset in order. Where it does not fit, evicting the least recently used would always evict
/// what the next draw needs first and never hit; so a part of the dataset stays, and is hit in every draw.
pub(super) struct Cache {
    size: u64,
    held: u64,
    /// The number of the present draw, from 1.
    draw: u64,
    blocks: Vec<Option<Entry>>,
    /// Where the search for a block that may go continues: round and round, so each gets its turn.
    hand: usize,
    /// The draw in which a whole round found none.
    full_in: u64,
}

struct Entry {
    block: Arc<Block>,
    used: u64,
}

impl Cache {
    /// A cache for blocks numbered below `blocks`.
    pub(super) fn new(size: CacheSize, blocks: usize) -> Self {
        Self {
            size: size.0,
            held: 0,
            draw: 0,
            blocks: (0..blocks).map(|_| None).collect(),
            hand: 0,
            full_in: 0,
        }
    }

    /// Another draw begins.
    pub(super) fn begin_draw(&mut self) {
        self.draw += 1;
    }

    pub(super) fn get(&mut self, number: usize) -> Option<&Arc<Block>> {
        let entry = self.blocks.get_mut(number)?.as_mut()?;
        entry.used = self.draw;
        Some(&entry.block)
    }

    /// Keeps a block if there is room or can be made.
    pub(super) fn offer(&mut self, number: usize, block: &Arc<Block>) {
        let bytes = block.bytes();
        let vacant = self.blocks.get(number).is_some_and(Option::is_none);
        if bytes > self.size || !vacant {
            return;
        }
        while self.held + bytes > self.size {
            if !self.evict_one() {
                return;
            }
        }
        self.held += bytes;
        self.blocks[number] = Some(Entry {
            block: Arc::clone(block),
            used: self.draw,
        });
    }

    fn evict_one(&mut self) -> bool {
        if self.full_in == self.draw {
            return false;
        }
        for _ in 0..self.blocks.len() {
            let at = self.hand;
            self.hand = (at + 1) % self.blocks.len();
            let slot = &mut self.blocks[at];
            if let Some(entry) = slot.take_if(|entry| entry.used + 1 < self.draw) {
                self.held -= entry.block.bytes();
                return true;
            }
        }
        self.full_in = self.draw;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(cache: &mut Cache, blocks: usize) -> usize {
        cache.begin_draw();
        let mut hits = 0;
        for number in 0..blocks {
            if cache.get(number).is_some() {
                hits += 1;
            } else {
                cache.offer(number, &Arc::new(Block::of_size(100)));
            }
            assert!(cache.held <= cache.size);
        }
        hits
    }

    #[test]
    fn what_fits_is_read_once() {
        let mut cache = Cache::new(CacheSize::bytes(1000), 10);
        assert_eq!(sweep(&mut cache, 10), 0);
        assert_eq!(sweep(&mut cache, 10), 10);
    }

    #[test]
    fn a_dataset_beyond_the_cache_still_hits_what_is_held() {
        let mut cache = Cache::new(CacheSize::bytes(1000), 40);
        for draw in 0..5 {
            let hits = sweep(&mut cache, 40);
            assert_eq!(hits, if draw == 0 { 0 } else { 10 });
        }
    }

    #[test]
    fn what_is_no_longer_drawn_makes_room() {
        let mut cache = Cache::new(CacheSize::bytes(1000), 60);
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
        let mut cache = Cache::new(CacheSize::bytes(0), 3);
        assert_eq!(sweep(&mut cache, 3), 0);
        assert_eq!(sweep(&mut cache, 3), 0);
    }
}
