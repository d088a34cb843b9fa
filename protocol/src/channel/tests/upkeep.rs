//! Collateral that changes while channels are open.

use std::{fs, path::Path, sync::Arc, time::Duration};

use chrono::TimeDelta;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tributary_attest::{CollateralFolder, SimulatedPlatformKey};

use super::setup::{Net, address_of, establish};
use crate::{
    channel::{Attested, Channel, ChannelError, CollateralNews, follow_collateral},
    handshake::{RefusalCode, tests::federation::Federation},
};

/// A provider that follows its collateral folder, and an aggregator, with a channel between them.
struct Scene {
    net: Net,
    dir: tempfile::TempDir,
    asked: Arc<Notify>,
    news: mpsc::UnboundedReceiver<Result<String, String>>,
    provider: Channel<Attested>,
    aggregator: Channel<Attested>,
    kept: JoinHandle<ChannelError>,
    following: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kept.abort();
        self.following.abort();
    }
}

impl Scene {
    async fn looking(every: Duration) -> Self {
        let net = Net::new();
        let f = &net.federation;
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &list(f, []));
        let (folder, collateral) = CollateralFolder::open(dir.path()).unwrap();
        let local = f.provider("hospital").with_collateral(Arc::new(collateral));
        let (here, there) = (net.endpoint(local), net.endpoint(f.aggregator()));
        let address = address_of(&there);
        let (provider, aggregator) =
            tokio::join!(here.dial(address, &f.contract), establish(&there));
        let provider = provider.unwrap().attested().unwrap();
        let aggregator = aggregator.unwrap().attested().unwrap();
        let kept = provider.clone();
        let kept = tokio::spawn(async move { kept.keep_attested().await });
        let (sender, news) = mpsc::unbounded_channel();
        let tell = move |news: CollateralNews<'_>| {
            let told = match news {
                CollateralNews::Taken(collateral) => Ok(collateral.to_string()),
                CollateralNews::Unreadable(error) => Err(error.to_string()),
                CollateralNews::Setback(setback) => Err(setback.to_owned()),
            };
            let _ = sender.send(told);
        };
        let asked = Arc::<Notify>::default();
        let following = follow_collateral(here, folder, every, Arc::clone(&asked), tell);
        Self {
            following: tokio::spawn(following),
            net,
            dir,
            asked,
            news,
            provider,
            aggregator,
            kept,
        }
    }

    fn put(&self, content: &[u8]) {
        put(self.dir.path(), content);
    }

    /// A list that takes the aggregator's machine back.
    fn revoking(&self) -> Vec<u8> {
        let f = &self.net.federation;
        list(f, [f.platform.public_key()])
    }

    async fn closed_as_refused(mut self) {
        let error = (&mut self.kept).await.unwrap();
        let refused = Some(RefusalCode::EvidenceRefused);
        assert_eq!(error.refusal(), refused, "{error}");
        assert!(error.to_string().contains("on it"), "{error}");
        assert_eq!(self.aggregator.closed().await.refusal(), refused);
        assert!(self.provider.open_batches().await.is_err());
    }
}

fn put(folder: &Path, content: &[u8]) {
    let folder = folder.join("simulated");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(".new"), content).unwrap();
    fs::rename(folder.join(".new"), folder.join("federation.crl")).unwrap();
}

fn list<const N: usize>(f: &Federation, platforms: [SimulatedPlatformKey; N]) -> Vec<u8> {
    let day = TimeDelta::days(1);
    f.root.revoke(platforms, f.now - day, f.now + day).unwrap()
}

#[tokio::test]
async fn a_platform_that_is_taken_back_loses_its_channel_when_the_operator_asks() {
    let mut scene = Scene::looking(Duration::from_secs(3600)).await;
    scene.asked.notify_one();
    scene.news.recv().await.unwrap().unwrap();
    // Judged by a list that does not name it, the peer stays.
    scene.provider.reattest().await.unwrap();
    scene.put(&scene.revoking());
    scene.asked.notify_one();
    scene.closed_as_refused().await;
}

#[tokio::test]
async fn a_platform_that_is_taken_back_loses_its_channel_when_the_folder_changes() {
    let scene = Scene::looking(Duration::from_millis(10)).await;
    scene.put(&scene.revoking());
    scene.closed_as_refused().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_changes_nothing_and_is_told_once() {
    let mut scene = Scene::looking(Duration::from_millis(10)).await;
    scene.put(b"half of a list");
    let fault = scene.news.recv().await.unwrap().unwrap_err();
    assert!(fault.contains("federation.crl"), "{fault}");
    scene.provider.reattest().await.unwrap();
    // However often the same fault is met again, the next news is another's.
    scene.put(&scene.revoking());
    scene.news.recv().await.unwrap().unwrap();
    scene.closed_as_refused().await;
}

#[tokio::test]
async fn what_changes_before_a_channel_is_kept_attested_is_not_missed() {
    let mut scene = Scene::looking(Duration::from_secs(3600)).await;
    // As if the upkeep of the channel began only now.
    scene.kept.abort();
    scene.put(&scene.revoking());
    scene.asked.notify_one();
    scene.news.recv().await.unwrap().unwrap();
    let provider = scene.provider.clone();
    scene.kept = tokio::spawn(async move { provider.keep_attested().await });
    scene.closed_as_refused().await;
}

#[tokio::test]
async fn a_list_that_is_lost_is_still_judged_by_until_the_operator_asks() {
    let mut scene = Scene::looking(Duration::from_millis(10)).await;
    fs::remove_dir_all(scene.dir.path().join("simulated")).unwrap();
    let fault = scene.news.recv().await.unwrap().unwrap_err();
    assert!(fault.contains("is gone"), "{fault}");
    scene.asked.notify_one();
    let taken = scene.news.recv().await.unwrap().unwrap();
    assert_eq!(taken, "an empty collateral folder");
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_has_peers_judged_anew_all_the_same_when_the_operator_asks() {
    let mut scene = Scene::looking(Duration::from_secs(3600)).await;
    scene.put(b"half of a list");
    let judged = scene.provider.clone();
    let judged = tokio::spawn(async move { judged.next_attestation().await });
    tokio::task::yield_now().await;
    scene.asked.notify_one();
    scene.news.recv().await.unwrap().unwrap_err();
    judged.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_operator_who_asks_for_a_folder_that_cannot_be_read_is_told_each_time() {
    let mut scene = Scene::looking(Duration::from_secs(3600)).await;
    scene.put(b"half of a list");
    for _ in 0..2 {
        scene.asked.notify_one();
        scene.news.recv().await.unwrap().unwrap_err();
    }
    scene.provider.reattest().await.unwrap();
}
