//! The password that ZooKeeper gives a session: it follows from the session's id alone.

/// `ZooKeeperServer.superSecret`, a constant of its source.
const SECRET: i64 = 0xb341_5c00;
const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const STATE_MASK: u64 = (1 << 48) - 1;

/// The first sixteen bytes of `new java.util.Random(id ^ secret)`, which all servers of all
/// ensembles agree on.
#[must_use]
pub fn of_session(id: i64) -> [u8; 16] {
    let mut state = ((id ^ SECRET).cast_unsigned() ^ MULTIPLIER) & STATE_MASK;
    let mut password = [0; 16];
    for word in password.as_chunks_mut::<4>().0 {
        state = (state.wrapping_mul(MULTIPLIER) + INCREMENT) & STATE_MASK;
        // Bits 47 to 16, the lowest byte first.
        let [.., b3, b2, b1, b0] = (state >> 16).to_be_bytes();
        *word = [b0, b1, b2, b3];
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_java() {
        // From `new Random(id ^ 0xB3415C00L).nextBytes(new byte[16])` on JDK 17.
        let hex = |id| of_session(id).map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(1), "054cc74a37327db215e702e20c73f005");
        assert_eq!(
            hex(0x0100_0012_3456_0003),
            "15bbaae8f5929358512cd821930411f3"
        );
        assert_eq!(hex(-2), "0dd532b5c441e3927c04b55e50fd9421");
    }
}
