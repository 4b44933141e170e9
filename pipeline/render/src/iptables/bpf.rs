//! The one condition that iptables has no words for: source and destination are the same address.
//! The match `bpf` runs a small program of classic BPF on the packet, from its network header on.

use model::Family;

/// One instruction (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a comparison holds.
    pub jump_true: u8,
    /// How many to skip if not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// `BPF_LD | BPF_W | BPF_ABS`: loads four bytes of the packet.
const LOAD: u16 = 0x20;
/// `BPF_MISC | BPF_TAX`: copies what was loaded to the other register.
const KEEP: u16 = 0x07;
/// `BPF_JMP | BPF_JEQ | BPF_X`: compares the two registers.
const EQUAL: u16 = 0x1d;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

/// The program that matches where source and destination are equal: word by word, and out at the
/// first that differs.
#[must_use]
pub fn source_is_destination(family: Family) -> Vec<Instruction> {
    let step = |code, operand| Instruction { code, jump_true: 0, jump_false: 0, operand };
    let (source, destination, words): (u32, u32, u8) = match family {
        Family::V4 => (12, 16, 1),
        Family::V6 => (8, 24, 4),
    };
    let mut program = Vec::new();
    for word in 0..words {
        let offset = 4 * u32::from(word);
        program.push(step(LOAD, source + offset));
        program.push(step(KEEP, 0));
        program.push(step(LOAD, destination + offset));
        // What is left of the comparisons, and the return that says yes.
        let jump_false = 4 * (words - 1 - word) + 1;
        program.push(Instruction { jump_false, ..step(EQUAL, 0) });
    }
    program.push(step(RETURN, u16::MAX.into()));
    program.push(step(RETURN, 0));
    program
}

/// The program as the tool takes it.
#[must_use]
pub(super) fn text(program: &[Instruction]) -> String {
    let mut text = program.len().to_string();
    for Instruction { code, jump_true, jump_false, operand } in program {
        text.push_str(&format!(",{code} {jump_true} {jump_false} {operand}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on a packet.
    fn run(program: &[Instruction], packet: &[u8]) -> u32 {
        let (mut at, mut loaded, mut kept) = (0, 0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, operand } = program[at];
            at += 1;
            let start = operand as usize;
            match code {
                LOAD => {
                    let word = packet[start..start + 4].try_into().unwrap();
                    loaded = u32::from_be_bytes(word);
                }
                KEEP => kept = loaded,
                EQUAL => at += usize::from(if loaded == kept { jump_true } else { jump_false }),
                RETURN => return operand,
                _ => panic!("no such instruction: {code}"),
            }
        }
    }

    #[test]
    fn it_matches_equal_addresses_and_no_others() {
        let four = source_is_destination(Family::V4);
        let packet = |a: [u8; 4], b: [u8; 4]| [&[0xff; 12][..], &a, &b].concat();
        assert_ne!(run(&four, &packet([10, 0, 0, 1], [10, 0, 0, 1])), 0);
        assert_eq!(run(&four, &packet([10, 0, 0, 1], [10, 0, 0, 2])), 0);
        let six = source_is_destination(Family::V6);
        let base = [7; 16];
        let packet = |b: [u8; 16]| [&[0xff; 8][..], &base, &b].concat();
        assert_ne!(run(&six, &packet(base)), 0);
        for place in 0..16 {
            let mut other = base;
            other[place] ^= 1;
            assert_eq!(run(&six, &packet(other)), 0, "byte {place}");
        }
    }
}
