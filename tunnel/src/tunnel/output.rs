use crate::batch::Batch;
use crate::frames::Frames;
use crate::path::{Path, PathMessage};
use crate::peer::PeerId;

/// What the tunnel wants done, in order: datagrams before messages, so that a
/// `Switch` follows all it speaks of.
#[derive(Debug, Default)]
pub struct Output {
    /// For UDP or a session.
    pub datagrams: Batch<(PeerId, Path)>,
    /// For the device.
    pub packets: Batch<()>,
    /// For the devices of taps.
    pub frames: Frames,
    /// For sessions.
    pub messages: Vec<(PeerId, PathMessage)>,
    /// Whether the path of a peer is another than before.
    pub is_path_changed: bool,
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
            && self.packets.is_empty()
            && self.frames.is_empty()
            && self.messages.is_empty()
            && !self.is_path_changed
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.datagrams.clear();
        self.packets.clear();
        self.frames.clear();
        self.messages.clear();
        self.is_path_changed = false;
    }
}
