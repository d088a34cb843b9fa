//! Measures the vault: how fast records are written, read in order, drawn as samples, and made into batches.
//!
//! `cargo run --release -p tributary-agent --example vault_bench [RECORDS]`
//!
//! Records are MNIST's size, 784 bytes and a label. Rates are medians, by the process's CPU time and by the clock; on a busy
//! machine believe the former.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, UInt16Array};
use arrow_buffer::Buffer;
use chrono::Utc;
use rustix::time::{ClockId, clock_gettime};
use tributary_accounting::SamplingRate;
use tributary_agent::{CacheSize, Owner, Records, Sampler, Vault, padded_batch};
use tributary_protocol::{
    BatchFormat, Column, ColumnType, DatasetName, DatasetSchema, Identity, Passphrase, arrow_schema,
};

const WIDTH: usize = 784;
const BATCH: usize = 10_000;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let records: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 150_000,
    };
    let folder = tempfile::tempdir()?;
    let identity = Identity::generate();
    let owner = Owner {
        name: "provider".parse()?,
        key: identity.public(),
    };
    let passphrase = Passphrase::new("bench").ok_or("a passphrase")?;
    let vault = Vault::create(&folder.path().display().to_string(), &passphrase, owner)?;
    let schema = DatasetSchema::new(vec![
        Column {
            name: "image".parse()?,
            kind: ColumnType::ImageU8 {
                height: 28,
                width: 28,
                channels: 1,
            },
        },
        Column {
            name: "label".parse()?,
            kind: ColumnType::Label { classes: 10 },
        },
    ])?;
    let bytes = records * (WIDTH + 2);
    println!("{records} records, {:.1} MB", bytes as f64 / 1e6);

    let name: DatasetName = "digits".parse()?;
    let source = batch(&schema, BATCH)?;
    let (dataset, spent) = timed(|| {
        // One batch again and again: making it is not what is measured.
        let batches = (0..records).step_by(BATCH).map(|from| {
            let count = BATCH.min(records - from);
            Ok::<_, arrow_schema::ArrowError>(source.slice(0, count))
        });
        vault.import(&identity, &name, &schema, batches, Utc::now())
    });
    let dataset = dataset?;
    report("write", bytes, &[spent]);
    let stored: u64 = dataset.manifest.parts().iter().map(|part| part.bytes).sum();
    println!("  stored / payload {:.4}", stored as f64 / bytes as f64);

    let columns = ["image".parse()?, "label".parse()?];
    let open = |cache| Records::open(&vault, &name, dataset.digest, &columns, cache);
    let (cold, spent) = timed(|| open(CacheSize::bytes(0)));
    let cold = cold?;
    report("open, digests checked", bytes, &[spent]);

    let scans = rounds(|| {
        let rows: Result<usize, _> = cold.scan().map(|batch| batch.map(|b| b.num_rows())).sum();
        rows.map(drop)
    })?;
    report("read in order", bytes, &scans);

    let indices: Vec<u32> = (0..1000)
        .map(|i: u64| ((i * 7_919) % records as u64) as u32)
        .collect();
    let taken = rounds(|| cold.take(&indices).map(drop))?;
    report("1,000 records from disk", 1000 * (WIDTH + 2), &taken);

    let hot = open(CacheSize::mebibytes(1024))?;
    hot.take(&indices)?;
    let taken = rounds(|| hot.take(&indices).map(drop))?;
    report("1,000 records from memory", 1000 * (WIDTH + 2), &taken);

    let rate = SamplingRate::new(1024.0 / records as f64)?;
    let format = BatchFormat::new(schema.clone(), 1280)?;
    let mut sampler = Sampler::new(records as u64, rate, 1280)?;
    let drawn = rounds(|| -> Result<(), Box<dyn Error>> {
        sampler.draw();
        Ok(())
    })?;
    println!("  drawing a sample: {:?} of CPU", median(&drawn).cpu);
    for _ in 0..40 {
        padded_batch(&hot, &format, &sampler.draw())?;
    }
    let made = rounds(|| padded_batch(&hot, &format, &sampler.draw()).map(drop))?;
    report("padded batches, drawn", format.frame_len(), &made);
    let frame = padded_batch(&hot, &format, &sampler.draw())?;
    let decoded = rounds(|| format.decode(frame.clone()).map(drop))?;
    report("decoding", format.frame_len(), &decoded);
    // The cache of this bench is larger than the data; an agent states its own.
    let status = std::fs::read_to_string("/proc/self/status")?;
    if let Some(peak) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("  {peak}");
    }
    Ok(())
}

fn batch(schema: &DatasetSchema, count: usize) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let mut state = 1_u64;
    let pixels: Vec<u8> = (0..count * WIDTH)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    let labels = (0..count).map(|i| (i % 10) as u16);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_new(
            WIDTH as i32,
            Buffer::from_vec(pixels),
            None,
        )?),
        Arc::new(UInt16Array::from_iter_values(labels)),
    ];
    RecordBatch::try_new(arrow_schema(schema), columns)
}

#[derive(Clone, Copy)]
struct Spent {
    cpu: Duration,
    wall: Duration,
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, Spent) {
    let (cpu, wall) = (cpu(), Instant::now());
    let outcome = act();
    let spent = Spent {
        cpu: self::cpu() - cpu,
        wall: wall.elapsed(),
    };
    (outcome, spent)
}

fn rounds<E>(mut act: impl FnMut() -> Result<(), E>) -> Result<Vec<Spent>, E> {
    (0..ROUNDS)
        .map(|_| {
            let (outcome, spent) = timed(&mut act);
            outcome.map(|()| spent)
        })
        .collect()
}

fn median(spent: &[Spent]) -> Spent {
    let mut sorted = spent.to_vec();
    sorted.sort_by_key(|spent| spent.cpu);
    sorted[sorted.len() / 2]
}

fn report(what: &str, bytes: usize, spent: &[Spent]) {
    let Spent { cpu, wall } = median(spent);
    let rate = |time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
    println!(
        "  {what}: {:.2} GB/s of CPU ({cpu:.2?}), {:.2} GB/s by the clock",
        rate(cpu),
        rate(wall)
    );
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
