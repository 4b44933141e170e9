//! What rules of a chain have counted.

use model::Family;

use super::{To, expression, read_rule};
use crate::Error;
use crate::netlink::{Encoder, Socket};

/// How many packets the rules of a chain have counted, together; `None` where no rule of such a
/// chain counts.
///
/// # Errors
/// What the kernel says.
pub fn counted(
    socket: &mut Socket,
    family: Family,
    table: &str,
    chain: &str,
) -> Result<Option<u64>, Error> {
    /// `NFTA_COUNTER_PACKETS`
    const PACKETS: u16 = 2;
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let family = u8::try_from(number).unwrap_or_default();
    let mut request = Encoder::default();
    To { family, table, sequence: 1 }.dump_rules(&mut request, Some(chain));
    let mut total = None;
    socket.dump("counted packets", &request, |message| {
        let Some(rule) = read_rule(message).filter(|rule| rule.chain == chain) else { return };
        for one in rule.expressions.0 {
            let one = one.nested();
            if one.text(expression::NAME) == Some("counter") {
                let packets = one.nested(expression::DATA).be64(PACKETS).unwrap_or_default();
                *total.get_or_insert(0) += packets;
            }
        }
    })?;
    Ok(total)
}
