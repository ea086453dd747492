/** What libfuse 2 and the package keep from every mount of this transport, whatever the tree can do. */
export const lacks: readonly string[] = [
  'entries whose names are not UTF-8 are left out of listings (the log says where) and can not be opened; a name with U+FFFD answers for damaged ones too',
  'symlinks whose targets are not UTF-8 can not be read (EILSEQ), and extended attributes whose names are not UTF-8 are left out',
  'hard links have inode numbers of their own, so that tar and rsync -H copy each of them',
  'inode numbers change from mount to mount and when the kernel has forgotten a file; the mount can not be exported over NFS',
  'times are told to the millisecond, and those before 1970 as 1970',
  'holes are not told (lseek): a sparse file reads as one piece of data',
  'nothing can be given back by fallocate',
  'a folder is listed whole, without attributes, and with no more than a million entries',
  'reads reach the disk in pieces of 128 KiB at most, and the kernel never reads a file by itself (no passthrough)',
  'the kernel takes names and attributes for good for one second, and is not told of changes; cached bytes stay good until a file is opened again, also of files that are not to be cached',
  'a wait can not be interrupted, not even by a kill: it ends with ETIMEDOUT after 15 s, after 90 s for what changes something',
  'an open file ends with its path: after its folder was removed, reads are ENOENT',
  'ACLs are shown, but the kernel checks permissions by owner, group and others alone',
  'that somebody else has ended the mount is seen within a second, or when the last wait has ended',
  'every thread that libfuse starts leaves some hundred bytes behind: many readers at once, for days, are not for this transport',
  'only x86-64 has a binary in the package, and a mount needs libfuse 2',
];
