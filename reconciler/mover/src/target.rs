//! The mover port's writing side for files of this machine: a tree below one directory.
