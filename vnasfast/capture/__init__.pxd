from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walker cimport InterfaceRow
