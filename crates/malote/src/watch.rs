//! Notices when a file of the configuration changes, or a link on the way to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Links on the way to one file; Linux follows as many.
const LINKS_MAX: usize = 40;

/// Tells of changes until it is dropped.
pub(crate) struct Watch {
    files: Vec<PathBuf>,
    changed: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches these files. `changed` should hold one: a full channel has the wake-up that is
    /// needed.
    pub(crate) fn over(files: &[PathBuf], changed: mpsc::Sender<()>) -> Self {
        let mut watch = Self {
            files: files.to_vec(),
            changed,
            watcher: None,
        };
        watch.renew();
        watch
    }

    /// Watches what the links lead to now: a release or a mounted configuration is replaced by
    /// another folder, in which nothing is watched yet. If that cannot be done, what was watched is.
    pub(crate) fn renew(&mut self) {
        match watcher(&self.files, self.changed.clone()) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the configuration; SIGHUP still reloads it");
            }
        }
    }
}

fn watcher(files: &[PathBuf], changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let entries: BTreeSet<PathBuf> = files.iter().flat_map(|file| entries(file)).collect();
    // Directories, not files: editors and configuration managers replace files.
    let directories = entries.iter().filter_map(|entry| entry.parent());
    let directories: BTreeSet<PathBuf> = directories.map(Path::to_path_buf).collect();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns_us = event.is_ok_and(|event| {
            !event.kind.is_access() && event.paths.iter().any(|path| entries.contains(path))
        });
        if concerns_us && changed.try_send(()).is_ok() {
            tracing::debug!("a file of the configuration changed");
        }
    })?;
    for directory in &directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// What decides which file a path means: each link on the way, and where the last one leads, all
/// by the true paths of their directories.
fn entries(file: &Path) -> BTreeSet<PathBuf> {
    let mut entries = BTreeSet::new();
    let Ok(mut path) = std::path::absolute(file) else {
        return entries;
    };
    for _ in 0..LINKS_MAX {
        let link = first_link(&path);
        entries.extend(entry(link.unwrap_or(&path)));
        match link.and_then(|link| followed(&path, link)) {
            Some(next) => path = next,
            None => break,
        }
    }
    entries
}

fn first_link(path: &Path) -> Option<&Path> {
    let links = path.ancestors().filter(|ancestor| ancestor.is_symlink());
    links.last()
}

/// The path with the target of a link on its way in the link's place.
fn followed(path: &Path, link: &Path) -> Option<PathBuf> {
    let target = link.parent()?.join(link.read_link().ok()?);
    let whole = target.join(path.strip_prefix(link).ok()?);
    // Without the slash that joining nothing leaves at the end: it would hide that this is a link.
    Some(whole.components().collect())
}

fn entry(path: &Path) -> Option<PathBuf> {
    let directory = path.parent()?.canonicalize().ok()?;
    Some(directory.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    const NOTICED_MAX: Duration = Duration::from_secs(10);

    /// A file that is reached by links, whose releases replace each other.
    struct Layout {
        folder: tempfile::TempDir,
        /// The path that the gateway is given.
        file: &'static str,
        /// The link that is swapped.
        link: &'static str,
        /// Where releases are.
        releases: &'static str,
    }

    impl Layout {
        /// As a Kubernetes volume: the file is a link through a link that is swapped.
        fn mounted() -> Self {
            let layout = Self::new("malote.toml", "..data", "..");
            symlink("..data/malote.toml", layout.folder.path().join(layout.file)).unwrap();
            layout
        }

        /// A folder of releases, and a link to the current one.
        fn released() -> Self {
            Self::new("current/malote.toml", "current", "releases/")
        }

        fn new(file: &'static str, link: &'static str, releases: &'static str) -> Self {
            let layout = Self {
                folder: tempfile::tempdir().unwrap(),
                file,
                link,
                releases,
            };
            layout.release(1);
            layout
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn release(&self, number: u32) {
            let target = format!("{}{number}", self.releases);
            fs::create_dir_all(self.path(&target)).unwrap();
            fs::write(self.path(&format!("{target}/malote.toml")), "x").unwrap();
            symlink(target, self.path("new")).unwrap();
            fs::rename(self.path("new"), self.path(self.link)).unwrap();
        }
    }

    async fn noticed(changes: &mut mpsc::Receiver<()>, what: &str) {
        let change = tokio::time::timeout(NOTICED_MAX, changes.recv()).await;
        assert_eq!(change, Ok(Some(())), "{what}");
    }

    #[tokio::test]
    async fn each_swap_of_a_link_on_the_way_is_noticed_and_so_is_the_new_file() {
        for layout in [Layout::mounted(), Layout::released()] {
            let (changed, mut changes) = mpsc::channel(1);
            let mut watch = Watch::over(&[layout.path(layout.file)], changed);
            for number in 2..4 {
                layout.release(number);
                noticed(&mut changes, &format!("{} {number}", layout.link)).await;
                watch.renew();
                while changes.try_recv().is_ok() {}
                let newest = format!("{}{number}/malote.toml", layout.releases);
                fs::write(layout.path(&newest), "y").unwrap();
                noticed(&mut changes, &newest).await;
                while changes.try_recv().is_ok() {}
            }
        }
    }

    #[test]
    fn a_path_means_its_links_and_where_they_lead() {
        let names = |layout: &Layout| {
            let root = layout.folder.path().canonicalize().unwrap();
            let own = entries(&layout.path(layout.file));
            let own = own
                .iter()
                .filter_map(|entry| entry.strip_prefix(&root).ok());
            own.map(|name| name.display().to_string())
                .collect::<Vec<_>>()
        };
        let mounted = ["..1/malote.toml", "..data", "malote.toml"];
        assert_eq!(names(&Layout::mounted()), mounted);
        assert_eq!(
            names(&Layout::released()),
            ["current", "releases/1/malote.toml"]
        );
        let plain = Layout::released();
        fs::write(plain.path("malote.toml"), "x").unwrap();
        let plain = Layout {
            file: "malote.toml",
            ..plain
        };
        assert_eq!(names(&plain), ["malote.toml"]);
        let looping = Layout::released();
        fs::remove_file(looping.path("current")).unwrap();
        symlink("current", looping.path("current")).unwrap();
        assert_eq!(names(&looping), ["current"]);
    }
}
