/// A ZIP archive of entries that are stored as they are, without checksums, which nobody compares.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in entries {
        let local = file.len() as u32;
        let [length, name_length] = [bytes.len() as u32, name.len() as u32];
        // Version, flags, method, time, date, checksum, sizes, length of the name.
        let mut head = vec![10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        head.extend(
            [length.to_le_bytes(), length.to_le_bytes(), name_length.to_le_bytes()].concat(),
        );
        file.extend([&b"PK\x03\x04"[..], &head, name.as_bytes(), bytes].concat());
        let entry =
            [&b"PK\x01\x02\x0a\0"[..], &head, &[0; 10], &local.to_le_bytes(), name.as_bytes()];
        directory.extend(entry.concat());
    }
    let count = entries.len() as u16;
    let [bytes, offset] = [directory.len() as u32, file.len() as u32];
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &count.to_le_bytes(),
        &count.to_le_bytes(),
        &bytes.to_le_bytes(),
        &offset.to_le_bytes(),
        &[0; 2],
    ];
    [file, directory, end.concat()].concat()
}
