//! Adds NICs to an argument list.

use std::collections::BTreeSet;
use std::ffi::OsString;

use crate::getopt;
use crate::nic::Nic;
use crate::slot::{Device, Slot};

/// Why an argument list is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No NIC is configured.
    NothingToAdd,
    /// HyperKit itself would not understand the list, or this crate does not.
    Unreadable,
    /// `-M`, `-v` and `-h` print something and end: no VM is started.
    NoVm,
    /// Two devices in one slot, which HyperKit refuses.
    SlotTakenTwice,
    /// The VM has no NIC that could be `eth0`: ours would become that.
    NoNic,
    /// Somebody has added one, perhaps on the very device that is ours.
    TapAlready,
    /// Nothing is free behind the VM's own NIC.
    NoFreeSlot,
}

/// Docker's own NIC; the guest's `eth0`.
const NICS: [&[u8]; 2] = [b"virtio-vpnkit", b"virtio-net"];
const TAP: &[u8] = b"virtio-tap";
/// Where the LPC bridge stands by custom, and the last there is.
const LPC: u8 = Slot::SLOTS - 1;

/// The arguments (without the program's name) with one `-s` more for each NIC, right behind that
/// of the VM's own NIC.
///
/// # Errors
/// A [`Doubt`], upon which the original must get the arguments as they are.
pub fn inject(arguments: &[OsString], nics: &[Nic]) -> Result<Vec<OsString>, Doubt> {
    if nics.is_empty() {
        return Err(Doubt::NothingToAdd);
    }
    let options = getopt::options(arguments).ok_or(Doubt::Unreadable)?;
    if options.iter().any(|it| b"Mvh".contains(&it.letter)) {
        return Err(Doubt::NoVm);
    }
    let mut taken = BTreeSet::new();
    let mut last_nic: Option<(Slot, usize)> = None;
    for option in options.iter().filter(|it| it.letter == b's') {
        let device = Device::parse(option.value).ok_or(Doubt::Unreadable)?;
        if !taken.insert(device.slot) {
            return Err(Doubt::SlotTakenTwice);
        }
        if device.emulation == TAP {
            return Err(Doubt::TapAlready);
        }
        if NICS.contains(&device.emulation) {
            last_nic = last_nic.max(Some((device.slot, option.next)));
        }
    }
    let (behind, next) = last_nic.ok_or(Doubt::NoNic)?;
    let free = free_behind(behind, &taken);
    let unused = free.len().checked_sub(nics.len());
    let slots = unused
        .and_then(|it| free.get(it..))
        .ok_or(Doubt::NoFreeSlot)?;
    let added = slots.iter().zip(nics).flat_map(|(slot, nic)| {
        let device = format!(
            "{},virtio-tap,{},mac={}",
            position(*slot),
            nic.interface(),
            nic.mac
        );
        [OsString::from("-s"), OsString::from(device)]
    });
    let mut result = arguments.to_vec();
    result.splice(next..next, added);
    Ok(result)
}

/// In the guest's order, those to prefer last: a slot of one's own is better than a function of
/// another's device, and a high one is where Docker's own devices come last.
fn free_behind(nic: Slot, taken: &BTreeSet<Slot>) -> Vec<Slot> {
    let functions = (nic.function + 1..Slot::FUNCTIONS)
        .map(|function| Slot { function, ..nic })
        .filter(|it| !taken.contains(it));
    let is_empty = |slot: u8| taken.iter().all(|it| (it.bus, it.slot) != (nic.bus, slot));
    let slots = (nic.slot + 1..LPC)
        .filter(|&slot| is_empty(slot))
        .map(|slot| Slot {
            slot,
            function: 0,
            ..nic
        });
    functions.chain(slots).collect()
}

fn position(slot: Slot) -> String {
    match slot.bus {
        0 => format!("{}:{}", slot.slot, slot.function),
        bus => format!("{bus}:{}:{}", slot.slot, slot.function),
    }
}

#[cfg(test)]
mod tests;
