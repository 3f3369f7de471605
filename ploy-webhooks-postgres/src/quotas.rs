//! The quotas of the events of a batch, as the tables count them.

use std::collections::BTreeMap;

use ploy_webhooks::EndpointId;

use crate::queue::Waiting;

/// What is counted for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    /// First, so that quotas are in the order of the endpoints, and two batches never wait for
    /// each other in a circle.
    endpoint: EndpointId,
    /// Which state the event was checked against, counted from 1 as Postgres counts.
    fence: i16,
    /// 0: the endpoint's life.
    seconds: i64,
    events: i64,
}

/// The quotas that the events of a batch name, each once.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    named: Vec<Named>,
    /// Which of them an event has, counted from 1; `None` where no event has one, and all it takes
    /// to count is left out.
    pub(crate) of_event: Option<Vec<Option<i16>>>,
}

impl Quotas {
    /// Those of a batch whose events were checked against these states. What names no endpoint
    /// counts for none.
    pub(crate) fn of(batch: &[Waiting], fences: &[Option<i16>]) -> Self {
        if batch.iter().all(|waiting| waiting.event.quota.is_none()) {
            return Self::default();
        }
        let of_events = || batch.iter().zip(fences).map(|(waiting, fence)| named(waiting, *fence));
        let mut places: BTreeMap<_, i16> = of_events().flatten().map(|named| (named, 0)).collect();
        for (place, number) in places.values_mut().zip(1..) {
            *place = number;
        }
        let of_event = of_events().map(|named| places.get(&named?).copied()).collect();
        Self { of_event: Some(of_event), named: places.into_keys().collect() }
    }

    /// Of each quota, which state its events were checked against.
    pub(crate) fn fences(&self) -> Vec<i16> {
        self.named.iter().map(|named| named.fence).collect()
    }

    pub(crate) fn events(&self) -> Vec<i64> {
        self.named.iter().map(|named| named.events).collect()
    }

    pub(crate) fn seconds(&self) -> Vec<i64> {
        self.named.iter().map(|named| named.seconds).collect()
    }
}

fn named(waiting: &Waiting, fence: Option<i16>) -> Option<Named> {
    let quota = waiting.event.quota?;
    Some(Named {
        endpoint: waiting.event.fence?.endpoint,
        fence: fence?,
        seconds: quota.period_seconds.map_or(0, |seconds| seconds.get().into()),
        events: i64::try_from(quota.events.get()).unwrap_or(i64::MAX),
    })
}
