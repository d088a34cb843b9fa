//! Measures the attested channel on loopback: how long one takes to open, and how fast records flow against bare quinn.
//!
//! ```text
//! cargo run --release -p tributary-protocol --example channel_bench -- [--channels N] [--mib N] [--rounds N] [--json]
//!     [--recorded-snp [--forget-chains]]
//! ```
//!
//! Both ends run in this process. Times are medians; throughputs are medians over rounds in which the
//! attested channel and bare quinn, with the same transport settings, take turns.
//!
//! With `--recorded-snp`, each side also verifies a recorded report of real SEV-SNP hardware in each handshake, besides
//! the simulated evidence by which the channel attests: a recorded report is bound to no channel.

mod bare;
mod federation;
mod recorded;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tributary_protocol::{Attested, Channel, Endpoint, TransportOptions};

use crate::{federation::Federation, recorded::RecordedSnp};

/// As large as a step's batch of a mid-sized dataset.
const BATCH: usize = 1 << 20;

const WARM_UP: usize = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&arguments))?;
    if arguments.json {
        println!(
            "{}",
            serde_json::json!({ "schema_version": 1, "status": "ok", "data": report.json() })
        );
    } else {
        report.print();
    }
    Ok(())
}

struct Arguments {
    channels: usize,
    mib: usize,
    rounds: usize,
    json: bool,
    recorded_snp: bool,
    forget_chains: bool,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut parsed = Self {
            channels: 101,
            mib: 256,
            rounds: 5,
            json: false,
            recorded_snp: false,
            forget_chains: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let number = match argument.as_str() {
                "--json" => {
                    parsed.json = true;
                    continue;
                }
                "--recorded-snp" => {
                    parsed.recorded_snp = true;
                    continue;
                }
                "--forget-chains" => {
                    parsed.forget_chains = true;
                    continue;
                }
                "--channels" => &mut parsed.channels,
                "--mib" => &mut parsed.mib,
                "--rounds" => &mut parsed.rounds,
                other => {
                    return Err(format!(
                        "expected --channels, --mib, --rounds, --json, --recorded-snp or --forget-chains, got {other}"
                    )
                    .into());
                }
            };
            *number = arguments
                .next()
                .and_then(|text| text.parse().ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| format!("expected a number from 1 on after {argument}"))?;
        }
        Ok(parsed)
    }
}

struct Report {
    channels: usize,
    tls: Duration,
    attestation: Duration,
    accept: Duration,
    attested: Rate,
    bare: Rate,
}

/// Of one stream, both ends together.
#[derive(Clone, Copy)]
struct Rate {
    bytes_per_second: f64,
    /// Tells more than the clock where other programs share the machine.
    cpu_seconds_per_gb: f64,
}

impl Report {
    fn ratio(&self) -> f64 {
        self.attested.bytes_per_second / self.bare.bytes_per_second
    }

    fn json(&self) -> serde_json::Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        serde_json::json!({
            "channels": self.channels,
            "median_ms": { "tls": ms(self.tls), "attestation": ms(self.attestation), "connect_to_accept": ms(self.accept) },
            "throughput_mb_per_s": {
                "attested_channel": self.attested.bytes_per_second / 1e6,
                "bare_quinn": self.bare.bytes_per_second / 1e6,
            },
            "cpu_seconds_per_gb": {
                "attested_channel": self.attested.cpu_seconds_per_gb,
                "bare_quinn": self.bare.cpu_seconds_per_gb,
            },
            "ratio": self.ratio(),
        })
    }

    fn print(&self) {
        println!(
            "connect to ACCEPT, median of {}: {:.2?}",
            self.channels, self.accept
        );
        println!("  TLS:         {:.2?}", self.tls);
        println!("  attestation: {:.2?}", self.attestation);
        for (what, rate) in [
            ("records over the attested channel", self.attested),
            ("bare quinn with the same settings", self.bare),
        ] {
            let (speed, cpu) = (rate.bytes_per_second / 1e6, rate.cpu_seconds_per_gb);
            println!("{what}: {speed:.0} MB/s, {cpu:.2} CPU seconds a GB");
        }
        println!("ratio: {:.2}", self.ratio());
    }
}

async fn measure(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let recorded = arguments
        .recorded_snp
        .then(|| RecordedSnp::read(!arguments.forget_chains))
        .transpose()?;
    let federation = Federation::new(recorded)?;
    let (mut tls, mut attestation, mut accept) = (Vec::new(), Vec::new(), Vec::new());
    let [provider, aggregator] = federation.endpoints()?;
    for _ in 0..arguments.channels {
        let opened = open(&federation, &provider, &aggregator).await?;
        tls.push(opened.tls);
        attestation.push(opened.attestation);
        accept.push(opened.tls + opened.attestation);
    }

    let bytes = arguments.mib << 20;
    let channel = open(&federation, &provider, &aggregator).await?.ends;
    let pair = bare::Pair::open(&TransportOptions::default()).await?;
    // The path's MTU is discovered and the congestion window open before anything counts.
    stream_records(&channel, WARM_UP).await?;
    pair.stream(BATCH, WARM_UP).await?;
    let (mut attested, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        attested.push(rate(stream_records(&channel, bytes)).await?);
        bare.push(rate(pair.stream(BATCH, bytes)).await?);
    }
    Ok(Report {
        channels: arguments.channels,
        tls: median(tls),
        attestation: median(attestation),
        accept: median(accept),
        attested: median_rate(attested),
        bare: median_rate(bare),
    })
}

struct Opened {
    tls: Duration,
    attestation: Duration,
    ends: [Channel<Attested>; 2],
}

async fn open(
    federation: &Federation,
    provider: &Endpoint,
    aggregator: &Endpoint,
) -> Result<Opened, Box<dyn Error>> {
    let address = aggregator.local_addr()?;
    let listener = aggregator.clone();
    let arriving = tokio::spawn(async move {
        match listener.accept().await {
            Some(arrival) => arrival.establish().await.map(Some),
            None => Ok(None),
        }
    });
    let begin = Instant::now();
    let channel = provider.connect(address, &federation.contract).await?;
    let tls = begin.elapsed();
    let established = channel.attest().await?;
    let attestation = begin.elapsed() - tls;
    let arrived = arriving.await??.and_then(|end| end.attested());
    match (established.attested(), arrived) {
        (Some(dialled), Some(arrived)) => Ok(Opened {
            tls,
            attestation,
            ends: [dialled, arrived],
        }),
        _ => Err("expected an attested channel at both ends".into()),
    }
}

/// Runs a stream that says how many bytes it moved, and in what time.
async fn rate(
    stream: impl Future<Output = Result<(usize, Duration), Box<dyn Error>>>,
) -> Result<Rate, Box<dyn Error>> {
    let before = cpu_seconds()?;
    let (bytes, took) = stream.await?;
    let cpu = cpu_seconds()? - before;
    Ok(Rate {
        bytes_per_second: bytes as f64 / took.as_secs_f64(),
        cpu_seconds_per_gb: cpu / (bytes as f64 / 1e9),
    })
}

/// User and system time of this process: fields 14 and 15 of `proc(5)`'s stat, in ticks of 10 ms.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks: Result<Vec<u64>, _> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<u64>() as f64 / 100.0)
}

/// From the first batch sent to the last one received.
async fn stream_records(
    ends: &[Channel<Attested>; 2],
    bytes: usize,
) -> Result<(usize, Duration), Box<dyn Error>> {
    let [provider, aggregator] = ends.clone();
    let begin = Instant::now();
    let receiving = tokio::spawn(async move {
        let mut batches = aggregator.accept_batches().await?;
        let mut received = 0;
        while let Some(batch) = batches.next().await? {
            received += batch.len();
        }
        Ok::<_, tributary_protocol::ChannelError>(received)
    });
    let batch = Bytes::from(vec![7; BATCH]);
    let mut batches = provider.open_batches().await?;
    for _ in 0..bytes / BATCH {
        batches.send(batch.clone()).await?;
    }
    batches.finish().await?;
    let received = receiving.await??;
    Ok((received, begin.elapsed()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn median_rate(mut rates: Vec<Rate>) -> Rate {
    let middle = rates.len() / 2;
    rates.sort_unstable_by(|a, b| a.cpu_seconds_per_gb.total_cmp(&b.cpu_seconds_per_gb));
    let cpu_seconds_per_gb = rates[middle].cpu_seconds_per_gb;
    rates.sort_unstable_by(|a, b| a.bytes_per_second.total_cmp(&b.bytes_per_second));
    Rate {
        cpu_seconds_per_gb,
        ..rates[middle]
    }
}
