//! The intake in process, beside the parts that it cannot do without. The bin `pipeline` prints
//! the ratio between them.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ploy_webhooks_benches::payload::Shape;
use ploy_webhooks_benches::pipeline::{Fixture, Part, calls_a_store, keep_freed_memory};

fn pipeline(criterion: &mut Criterion) {
    keep_freed_memory();
    for shape in [Shape::Flat, Shape::Nested] {
        for payload_bytes in [200, 1 << 10, 16 << 10, 1 << 20] {
            let name = format!("pipeline/{}/{payload_bytes}", shape.name());
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Bytes(payload_bytes as u64));
            for part in Part::ALL {
                group.bench_function(BenchmarkId::from_parameter(part.name()), |bencher| {
                    bencher.iter_custom(|times| timed(part, shape, payload_bytes, times as usize));
                });
            }
            group.finish();
        }
    }
}

/// In portions, each on a new store; making the stores is not counted.
fn timed(part: Part, shape: Shape, payload_bytes: usize, times: usize) -> Duration {
    let mut left = times;
    let mut elapsed = Duration::ZERO;
    while left > 0 {
        let portion = left.min(calls_a_store(payload_bytes));
        elapsed += Fixture::new(shape, payload_bytes).time(part, portion);
        left -= portion;
    }
    elapsed
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
