//! Scheme `ip`: the client's address (`IPAuthenticationProvider.java`).

use std::net::IpAddr;

use super::{AuthFailed, Identity, Scheme};

pub struct Ip;

/// An address as Java prints it: eight groups without `::` for IPv6.
#[must_use]
pub fn textual(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// `address` or `address/bits` as the address's bytes and the number of bits that count.
fn parse(expression: &str) -> Option<(Vec<u8>, u32)> {
    let (address, bits) = match expression.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (expression, None),
    };
    let bytes = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let all = u32::try_from(bytes.len()).ok()? * 8;
    let bits = match bits {
        None => all,
        Some(bits) => bits.parse::<u32>().ok().filter(|bits| *bits <= all)?,
    };
    Some((bytes, bits))
}

impl Scheme for Ip {
    fn name(&self) -> &'static str {
        "ip"
    }

    fn authenticate(&self, _: Option<&[u8]>, peer: IpAddr) -> Result<Vec<Identity>, AuthFailed> {
        Ok(vec![Identity::new("ip", &textual(peer))])
    }

    fn is_valid_id(&self, id: &str) -> bool {
        parse(id).is_some()
    }

    fn matches(&self, proven: &str, id: &str) -> bool {
        let (Some((proven, _)), Some((wanted, bits))) = (parse(proven), parse(id)) else {
            return false;
        };
        proven.len() == wanted.len()
            && (0..bits).all(|bit| {
                let (byte, mask) = ((bit / 8) as usize, 0x80u8 >> (bit % 8));
                proven[byte] & mask == wanted[byte] & mask
            })
    }

    /// An address alone does not authenticate: `auth` in a list does not stand for it.
    fn is_authenticated(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_by_bits() {
        assert!(Ip.matches("10.1.2.3", "10.0.0.0/8"));
        assert!(Ip.matches("10.1.2.3", "10.1.2.3"));
        assert!(!Ip.matches("11.1.2.3", "10.0.0.0/8"));
        assert!(Ip.matches("11.1.2.3", "10.0.0.0/7"));
        assert!(!Ip.matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
        assert!(Ip.matches("0:0:0:0:0:0:0:1", "::/0"));
        assert!(!Ip.is_valid_id("10.0.0.0/33"));
        assert!(!Ip.is_valid_id("host"));
    }

    #[test]
    fn addresses_print_as_in_java() {
        assert_eq!(
            textual("::1".parse().expect("an address")),
            "0:0:0:0:0:0:0:1"
        );
        assert_eq!(
            textual("::ffff:1.2.3.4".parse().expect("an address")),
            "1.2.3.4"
        );
    }
}
