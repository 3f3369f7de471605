//! Blocks of a stream: runs of events, and what stands in them.

use ploy_webhooks::store::grams::{self, BLOCK_EVENTS_MAX, BLOCK_TEXT_BYTES, BlockFilter};
use ploy_webhooks::{EventId, WorkspaceId};

/// How many blocks make a segment. Fewer than the index allows: what is not in a segment is read
/// in full by the searches of other nodes.
pub(crate) const SEGMENT_BLOCKS: usize = 32;

/// The ids of a block, from the least to the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) min: EventId,
    pub(crate) max: EventId,
}

impl Span {
    const BYTES: usize = 32;

    pub(crate) fn of(id: EventId) -> Self {
        Self { min: id, max: id }
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    pub(crate) fn meets(self, (low, high): (EventId, EventId)) -> bool {
        self.max >= low && self.min <= high
    }

    pub(crate) fn write_all(spans: impl Iterator<Item = Self>) -> Vec<u8> {
        spans.flat_map(|span| [*span.min.as_bytes(), *span.max.as_bytes()]).flatten().collect()
    }

    pub(crate) fn read_all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let (spans, _) = bytes.as_chunks::<{ Self::BYTES }>();
        spans.iter().map(|span| {
            let (min, max) = span.split_first_chunk().expect("32 bytes hold 16");
            let max = max.try_into().expect("16 bytes are left");
            Self { min: EventId::from_bytes(*min), max: EventId::from_bytes(max) }
        })
    }
}

/// A block that no event is added to any more.
#[derive(Debug)]
pub(crate) struct ClosedBlock {
    pub(crate) span: Span,
    pub(crate) filter: BlockFilter,
    /// The same for all blocks of a segment.
    pub(crate) salt: u64,
}

/// What the index takes of an event.
#[derive(Debug)]
pub(crate) struct Indexable<'event> {
    pub(crate) id: EventId,
    pub(crate) endpoint: Option<i64>,
    /// `None` where the endpoint is deleted.
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) event_type: Option<&'event str>,
    pub(crate) payload: &'event [u8],
}

/// Fills one block after the other.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    salt: u64,
    blocks_of_salt: usize,
    filter: BlockFilter,
    span: Option<Span>,
    events: usize,
    text_bytes: usize,
    scratch: Vec<u8>,
    closed: Vec<ClosedBlock>,
}

impl BlockBuilder {
    pub(crate) fn new() -> Self {
        let salt = fastrand::u64(..);
        Self {
            salt,
            blocks_of_salt: 0,
            filter: BlockFilter::new(salt),
            span: None,
            events: 0,
            text_bytes: 0,
            scratch: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, event: &Indexable<'_>) {
        if let Some(endpoint) = event.endpoint {
            self.filter.add_term(endpoint_term(endpoint));
        }
        if let Some(workspace) = event.workspace {
            self.filter.add_term(grams::workspace_term(&workspace));
        }
        if let Some(event_type) = event.event_type {
            self.filter.add_term(grams::type_term(event_type));
        }
        let text_bytes = grams::add_payload(&mut self.filter, event.payload, &mut self.scratch);
        let span = Span::of(event.id);
        self.span = Some(self.span.map_or(span, |open| open.with(span)));
        self.text_bytes += text_bytes;
        self.events += 1;
        if self.text_bytes >= BLOCK_TEXT_BYTES || self.events >= BLOCK_EVENTS_MAX {
            self.close();
        }
    }

    /// Closes the open block, if anything is in it.
    pub(crate) fn close(&mut self) {
        let Some(span) = self.span.take() else {
            return;
        };
        let salt = self.salt;
        self.blocks_of_salt += 1;
        if self.blocks_of_salt == SEGMENT_BLOCKS {
            self.salt = fastrand::u64(..);
            self.blocks_of_salt = 0;
        }
        let filter = std::mem::replace(&mut self.filter, BlockFilter::new(self.salt));
        self.closed.push(ClosedBlock { span, filter, salt });
        self.events = 0;
        self.text_bytes = 0;
    }

    /// The blocks that were closed since the last time.
    pub(crate) fn take_closed(&mut self) -> Vec<ClosedBlock> {
        std::mem::take(&mut self.closed)
    }

    /// The least id in the open block.
    pub(crate) fn open_from(&self) -> Option<EventId> {
        self.span.map(|span| span.min)
    }
}

/// Numbers ascend: mixed, they are as good as random (the finaliser of SplitMix64).
pub(crate) const fn endpoint_term(number: i64) -> u64 {
    let mut mixed = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
