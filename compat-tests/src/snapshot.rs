//! Meerkat's snapshot files, changed in a way that their checksums do not tell.

use anyhow::{Context as _, Result};

/// Stands in the place of a block's length behind the last one.
const NO_MORE: u32 = u32::MAX;

/// A snapshot with other blocks: magic, then each block with its length and checksum, then a mark, the
/// number of blocks and the checksum of the checksums.
///
/// # Errors
/// It is no snapshot, or a block becomes too long.
pub fn changed(file: &[u8], change: impl Fn(&mut Vec<u8>)) -> Result<Vec<u8>> {
    let (magic, mut rest) = file.split_at_checked(8).context("no magic")?;
    let mut out = magic.to_vec();
    let mut blocks = 0_u64;
    let mut sums = crc32fast::Hasher::new();
    loop {
        let (length, behind) = rest.split_first_chunk::<4>().context("a length")?;
        let length = u32::from_be_bytes(*length);
        if length == NO_MORE {
            break;
        }
        let (block, behind) = behind
            .split_at_checked(length as usize)
            .context("a block")?;
        rest = behind.get(4..).context("a checksum")?;
        let mut block = block.to_vec();
        change(&mut block);
        let sum = crc32fast::hash(&block).to_be_bytes();
        sums.update(&sum);
        blocks += 1;
        out.extend(u32::try_from(block.len())?.to_be_bytes());
        out.extend(&block);
        out.extend(sum);
    }
    out.extend(NO_MORE.to_be_bytes());
    out.extend(blocks.to_be_bytes());
    out.extend(sums.finalize().to_be_bytes());
    Ok(out)
}
