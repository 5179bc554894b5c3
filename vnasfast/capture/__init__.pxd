from vnasfast.capture.reader cimport Capture, InterfaceRow
