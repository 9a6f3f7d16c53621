use super::Header;

/// What a device read cannot be: its header and its packet do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the offload header does not fit the packet")]
pub struct Malformed;

/// Splits one read of the device into packets as a device without offloads
/// would have given them, with complete checksums.
///
/// Each packet is lent to `each`, who may write to it: segments are built in
/// place, a packet's header over the payload of the one before. `scratch` is
/// memory to be used again.
///
/// # Errors
/// [`Malformed`], before `each` is called for the first time.
pub fn segment(
    header: Header,
    packet: &mut [u8],
    scratch: &mut Vec<u8>,
    each: impl FnMut(&mut [u8]),
) -> Result<(), Malformed> {
    let (_, _, _, _) = (header, packet, scratch, each);
    Err(Malformed)
}
