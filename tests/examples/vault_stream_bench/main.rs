//! Measures the whole way of records on loopback: drawn from an encrypted vault, decrypted, padded, streamed over an
//! attested channel and decoded, against bare quinn that moves as many bytes with the same transport settings.
//!
//! ```text
//! cargo run --release -p tributary-tests --example vault_stream_bench -- [BATCHES [ROUNDS]]
//! ```
//!
//! Both ends run in this process, records are MNIST's size, and the blocks of the vault are as hot as an agent's become
//! in the first steps of a run. Rates are medians over rounds that take turns.

// Of the protocol's own benchmark: the bare connection that both are measured against, and a federation of two.
#[path = "../../../protocol/examples/channel_bench/bare.rs"]
mod bare;
#[path = "../../../protocol/examples/channel_bench/federation.rs"]
mod federation;
#[allow(dead_code)]
#[path = "../../../protocol/examples/channel_bench/recorded.rs"]
mod recorded;

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, UInt16Array};
use arrow_buffer::Buffer;
use bytes::Bytes;
use chrono::Utc;
use tributary_accounting::SamplingRate;
use tributary_agent::{CacheSize, Owner, Records, Sampler, Vault, padded_batch};
use tributary_protocol::{
    Attested, BatchFormat, Channel, Column, ColumnType, DatasetSchema, Identity, Passphrase,
    TransportOptions, arrow_schema,
};

use federation::Federation;

const RECORDS: usize = 60_000;
const WIDTH: usize = 784;
/// Expected records of a batch, and its capacity.
const EXPECTED: f64 = 1024.0;
const CAPACITY: u32 = 1280;
/// So many batches touch nearly every block, and open the congestion window.
const WARM_UP: usize = 100;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let batches = numbers.next().transpose()?.unwrap_or(200);
    let rounds = numbers.next().transpose()?.unwrap_or(7);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(batches, rounds))
}

async fn measure(batches: usize, rounds: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let source = Arc::new(Source::fill(&folder.path().display().to_string())?);
    let ends = open().await?;
    let pair = bare::Pair::open(&TransportOptions::default())
        .await
        .map_err(|error| error.to_string())?;
    let frame = source.format.frame_len();
    stream(&source, &ends, WARM_UP).await?;
    let bare = async |count: usize| {
        let streamed = pair.stream(frame, count * frame).await;
        streamed.map_err(|error| error.to_string())
    };
    bare(WARM_UP).await?;
    let (mut ours, mut bares) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(stream(&source, &ends, batches).await?);
        bares.push(bare(batches).await?.1);
    }
    let rate = |times: Vec<Duration>| (batches * frame) as f64 / median(times).as_secs_f64() / 1e6;
    let (ours, bares) = (rate(ours), rate(bares));
    println!("vault to decoded batches: {ours:.0} MB/s");
    println!("bare quinn with the same settings: {bares:.0} MB/s");
    println!("ratio: {:.2}", ours / bares);
    Ok(())
}

/// A dataset in a vault, as an agent draws from it.
struct Source {
    records: Records,
    format: BatchFormat,
    sampler: Mutex<Sampler>,
}

impl Source {
    fn fill(location: &str) -> Outcome<Self> {
        let identity = Identity::generate();
        let owner = Owner {
            name: "provider".parse()?,
            key: identity.public(),
        };
        let passphrase = Passphrase::new("bench").ok_or("a passphrase")?;
        let vault = Vault::create(location, &passphrase, owner)?;
        let kinds = [
            (
                "image",
                ColumnType::ImageU8 {
                    height: 28,
                    width: 28,
                    channels: 1,
                },
            ),
            ("label", ColumnType::Label { classes: 10 }),
        ];
        let columns = kinds.map(|(name, kind)| {
            Ok::<_, Box<dyn Error + Send + Sync>>(Column {
                name: name.parse()?,
                kind,
            })
        });
        let schema = DatasetSchema::new(columns.into_iter().collect::<Outcome<_>>()?)?;
        let name = "digits".parse()?;
        let batch = records(&schema)?;
        let dataset = vault.import(
            &identity,
            &name,
            &schema,
            [Ok::<_, std::io::Error>(batch)],
            Utc::now(),
        )?;
        let columns = ["image".parse()?, "label".parse()?];
        let cache = CacheSize::mebibytes(64);
        let rate = SamplingRate::new(EXPECTED / RECORDS as f64)?;
        Ok(Self {
            records: Records::open(&vault, &name, dataset.digest, &columns, cache)?,
            format: BatchFormat::new(schema, CAPACITY)?,
            sampler: Mutex::new(Sampler::new(RECORDS as u64, rate, CAPACITY)?),
        })
    }

    fn draw(&self) -> Outcome<Bytes> {
        let sample = self
            .sampler
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .draw();
        Ok(padded_batch(&self.records, &self.format, &sample)?)
    }
}

fn records(schema: &DatasetSchema) -> Outcome<RecordBatch> {
    let mut state = 1_u64;
    let pixels: Vec<u8> = (0..RECORDS * WIDTH)
        .map(|_| {
            // Knuth's MMIX generator: bytes that no encoding shortens.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let labels = (0..RECORDS).map(|number| (number % 10) as u16);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_new(
            WIDTH as i32,
            Buffer::from_vec(pixels),
            None,
        )?),
        Arc::new(UInt16Array::from_iter_values(labels)),
    ];
    Ok(RecordBatch::try_new(arrow_schema(schema), columns)?)
}

async fn open() -> Outcome<[Channel<Attested>; 2]> {
    let federation = Federation::new(None).map_err(|error| error.to_string())?;
    let [provider, aggregator] = federation.endpoints().map_err(|error| error.to_string())?;
    let address = aggregator.local_addr()?;
    let arriving = tokio::spawn(async move {
        let arrival = aggregator.accept().await?;
        arrival.establish().await.ok()?.attested()
    });
    let dialled = provider.dial(address, &federation.contract).await?;
    match (dialled.attested(), arriving.await?) {
        (Some(dialled), Some(arrived)) => Ok([dialled, arrived]),
        _ => Err("expected an attested channel at both ends".into()),
    }
}

/// From the first record drawn to the last batch decoded; the next batch is drawn while one travels, as an agent does it.
async fn stream(
    source: &Arc<Source>,
    ends: &[Channel<Attested>; 2],
    batches: usize,
) -> Outcome<Duration> {
    let [provider, aggregator] = ends.clone();
    let format = source.format.clone();
    let begin = Instant::now();
    let receiving = tokio::spawn(async move {
        let mut stream = aggregator.accept_batches().await?;
        let mut decoded = 0;
        while let Some(frame) = stream.next().await? {
            format.decode(frame)?;
            decoded += 1;
        }
        Outcome::Ok(decoded)
    });
    let draw = || {
        let source = Arc::clone(source);
        tokio::task::spawn_blocking(move || source.draw())
    };
    let mut sender = provider.open_batches().await?;
    let mut next = draw();
    for _ in 1..batches {
        let frame = next.await??;
        next = draw();
        sender.send(frame).await?;
    }
    sender.send(next.await??).await?;
    sender.finish().await?;
    let decoded = receiving.await??;
    if decoded != batches {
        return Err(format!("expected {batches} batches, got {decoded}").into());
    }
    Ok(begin.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
