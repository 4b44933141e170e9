//! Where a packet goes and why, from the Intent and from the rules
