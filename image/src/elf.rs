//! Refuses a binary that could not start in an image which holds nothing else.

use anyhow::{Context, Result, bail, ensure};

use crate::Arch;

/// Checks that `binary` is an executable for `arch` that needs no dynamic loader.
///
/// # Errors
/// Says what the binary is instead. Without this check the engine would say "no such file or
/// directory" at the first start, because a missing loader looks like a missing program.
pub(crate) fn check_static(binary: &[u8], arch: Arch) -> Result<()> {
    ensure!(
        binary.starts_with(ELF64_LITTLE_ENDIAN),
        "the binary is not a 64-bit ELF program"
    );
    let machine = u16_at(binary, E_MACHINE)?;
    ensure!(
        machine == machine_of(arch),
        "the binary is not for {arch} (ELF machine {machine})"
    );
    let start = usize::try_from(u64_at(binary, E_PHOFF)?).context("read program headers")?;
    let size = usize::from(u16_at(binary, E_PHENTSIZE)?);
    for index in 0..usize::from(u16_at(binary, E_PHNUM)?) {
        if u32_at(binary, start.saturating_add(index * size))? == PT_INTERP {
            bail!("the binary is not static: it asks for a dynamic loader");
        }
    }
    Ok(())
}

fn machine_of(arch: Arch) -> u16 {
    match arch {
        Arch::Amd64 => 0x3e,
        Arch::Arm64 => 0xb7,
    }
}

fn u16_at(binary: &[u8], offset: usize) -> Result<u16> {
    bytes_at(binary, offset).map(u16::from_le_bytes)
}

fn u32_at(binary: &[u8], offset: usize) -> Result<u32> {
    bytes_at(binary, offset).map(u32::from_le_bytes)
}

fn u64_at(binary: &[u8], offset: usize) -> Result<u64> {
    bytes_at(binary, offset).map(u64::from_le_bytes)
}

fn bytes_at<const N: usize>(binary: &[u8], offset: usize) -> Result<[u8; N]> {
    binary
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .context("the binary is cut short")
}

/// Magic number, then class 2 (64 bits), then data encoding 1 (little endian).
const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";

/// Byte offsets in the ELF64 header.
const E_MACHINE: usize = 18;
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;

/// The program header that names a dynamic loader.
const PT_INTERP: u32 = 3;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest program that passes: a header and one program header of type `segment`.
    pub(crate) fn program(arch: Arch, segment: u32) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(ELF64_LITTLE_ENDIAN);
        elf[E_MACHINE..][..2].copy_from_slice(&machine_of(arch).to_le_bytes());
        elf[E_PHOFF..][..8].copy_from_slice(&64_u64.to_le_bytes());
        elf[E_PHENTSIZE..][..2].copy_from_slice(&56_u16.to_le_bytes());
        elf[E_PHNUM..][..2].copy_from_slice(&1_u16.to_le_bytes());
        elf[64..][..4].copy_from_slice(&segment.to_le_bytes());
        elf
    }

    pub(crate) const PT_LOAD: u32 = 1;

    fn refusal(binary: &[u8], arch: Arch) -> String {
        check_static(binary, arch).unwrap_err().to_string()
    }

    #[test]
    fn a_static_binary_of_the_right_architecture_passes() {
        for arch in [Arch::Amd64, Arch::Arm64] {
            check_static(&program(arch, PT_LOAD), arch).unwrap();
        }
    }

    #[test]
    fn a_binary_of_the_other_architecture_is_refused() {
        let refused = refusal(&program(Arch::Arm64, PT_LOAD), Arch::Amd64);
        assert_eq!(refused, "the binary is not for amd64 (ELF machine 183)");
    }

    #[test]
    fn a_dynamic_binary_is_refused() {
        let refused = refusal(&program(Arch::Amd64, PT_INTERP), Arch::Amd64);
        assert!(refused.contains("not static"), "{refused}");
    }

    #[test]
    fn a_script_or_half_a_binary_is_refused() {
        assert!(refusal(b"#!/bin/sh\n", Arch::Amd64).contains("not a 64-bit ELF"));
        let half = &program(Arch::Amd64, PT_LOAD)[..66];
        assert!(refusal(half, Arch::Amd64).contains("cut short"));
    }
}
