package onnx

// A File is a decoded ONNX file (ModelProto), with the fields that matter for
// inference.
type File struct {
	Path            string // in messages
	IRVersion       int64
	Producer        string
	ProducerVersion string
	Domain          string
	Opsets          []Opset
	Graph           *GraphDef
	Functions       []*Function
	Metadata        []Entry
}

// An Opset says which version of a domain's operators a file uses.
type Opset struct {
	Domain  string
	Version int64
}

// An Entry is a key with a value.
type Entry struct{ Key, Value string }

// A GraphDef is a graph of nodes (GraphProto).
type GraphDef struct {
	Name         string
	Nodes        []*NodeDef
	Initializers []*TensorDef
	Inputs       []*ValueDef
	Outputs      []*ValueDef
	Values       []*ValueDef // hints about intermediate values
	Sparse       int         // number of sparse initialisers
}

// A NodeDef is one node (NodeProto). An empty input is an omitted optional one.
type NodeDef struct {
	Name       string
	Op         string
	Domain     string
	Overload   string
	Inputs     []string
	Outputs    []string
	Attributes []*Attribute
	Metadata   []Entry
	Offset     int64 // in the file

	opset int64 // of its domain, set by inlining
}

// The types of attributes.
const (
	attrFloat int32 = 1 + iota
	attrInt
	attrString
	attrTensor
	attrGraph
	attrFloats
	attrInts
	attrStrings
	attrTensors
	attrGraphs
	attrSparse
	attrSparses
	attrTypeProto
	attrTypeProtos
)

// An Attribute is a named value of a node (AttributeProto).
type Attribute struct {
	Name    string
	Type    int32
	Ref     string // the attribute of the function around it that gives the value
	F       float32
	I       int64
	S       []byte
	T       *TensorDef
	G       *GraphDef
	Floats  []float32
	Ints    []int64
	Strings []string
	Graphs  []*GraphDef
	Offset  int64

	present uint32 // bit t: a value of type t was there
}

func (a *Attribute) has(t int32) { a.present |= 1 << t }

// A ValueDef declares a value's type (ValueInfoProto).
type ValueDef struct {
	Name     string
	Kind     string // "tensor", or another kind, or "" if there is no type
	Type     int32  // element type of a tensor
	HasShape bool
	Shape    []DimDef
	Offset   int64
}

// A DimDef is a declared dimension: a number, a name, or (-1, "") for unknown.
type DimDef struct {
	Value int64
	Param string
}

// A Function is a model-local function (FunctionProto).
type Function struct {
	Name, Domain, Overload string
	Inputs, Outputs        []string
	Attributes             []string
	Defaults               []*Attribute
	Nodes                  []*NodeDef
	Opsets                 []Opset
}
