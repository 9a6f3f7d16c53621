//! Against a slow and obvious reference.

mod coalescing;
mod frames;
mod hostile;
mod packet;
mod segmentation;
mod streams;

use super::{Coalescer, Header, Link, Malformed, segment};
use crate::Batch;

/// What the device would get: header and super-packet of each write.
fn writes(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<(Header, Vec<u8>)> {
    let mut batch = Batch::new();
    for packet in packets {
        batch.push((), packet);
    }
    let plan: Vec<_> = coalescer
        .plan(&mut batch)
        .map(|(header, pieces)| (header, pieces.to_vec()))
        .collect();
    plan.into_iter()
        .map(|(header, pieces)| {
            let pieces: Vec<_> = pieces
                .into_iter()
                .map(|piece| &batch.bytes()[piece])
                .collect();
            (header, pieces.concat())
        })
        .collect()
}

fn segments(header: Header, packet: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    segments_of(Link::Ip, header, packet)
}

fn segments_of(link: Link, header: Header, packet: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut segments = Vec::new();
    let mut scratch = Vec::new();
    segment(
        link,
        header,
        &mut packet.to_vec(),
        &mut scratch,
        |segment| {
            segments.push(segment.to_vec());
            // Whoever is lent a segment may do with it what he wants.
            segment.fill(0xee);
        },
    )?;
    Ok(segments)
}
