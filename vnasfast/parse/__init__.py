from vnasfast.parse.frames import link_is_known, parse_frame, parse_frames
