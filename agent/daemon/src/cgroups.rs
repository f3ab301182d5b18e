//! Control groups: which id the kernel has for a path.
//!
//! It is the inode of the group's folder, another one each time that it is made anew. So it is asked again and again.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the hierarchy of version 2 is mounted; `None` where it is not.
#[must_use]
pub fn root() -> Option<PathBuf> {
    root_of(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// A line is what, where, which kind, ... with blanks in names as `\\040`.
fn root_of(mounts: &str) -> Option<PathBuf> {
    let place = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2" && !place.contains('\\')).then(|| PathBuf::from(place))
    };
    mounts.lines().find_map(place)
}

/// The ids of those of `paths` that are there.
#[must_use]
pub fn ids<'p>(root: &Path, paths: impl Iterator<Item = &'p Arc<str>>) -> BTreeMap<Arc<str>, u64> {
    let id = |path: &'p Arc<str>| {
        let found = std::fs::metadata(root.join(&**path)).ok().filter(std::fs::Metadata::is_dir)?;
        Some((Arc::clone(path), found.ino()))
    };
    paths.filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
             cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root_of(hybrid).as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(root_of("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_folder_that_is_there_has_an_id() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let paths = [Arc::from("a/b"), Arc::from("a/c")];
        let ids = ids(dir.path(), paths.iter());
        assert_eq!(ids.keys().map(|path| &**path).collect::<Vec<_>>(), ["a/b"]);
    }
}
